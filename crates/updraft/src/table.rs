//! Tables for people: columns aligned, a heading, colours only where they are seen.

use std::io::{self, IsTerminal, Write};

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Headings and side remarks.
    Dim,
    /// What ended well.
    Good,
    /// What needs a look.
    Warning,
    /// What ended badly.
    Bad,
}

/// Whether to colour what goes to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// With escape sequences.
    On,
    /// As plain text.
    Off,
}

impl Colours {
    /// On for a terminal, unless `NO_COLOR` is set (no-color.org).
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Self::On } else { Self::Off }
    }

    /// The text in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

/// The tone of a rollout's or an execution's state.
pub fn tone_of_state(state: &str) -> Tone {
    match state {
        "succeeded" | "completed" => Tone::Good,
        "failed" | "timed_out" | "aborted" => Tone::Bad,
        "paused" | "rejected" | "canceled" | "removed" => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// One cell: its text and how it stands out.
#[derive(Debug, Clone)]
pub struct Cell(String, Tone);

impl Cell {
    /// A state's word in its tone.
    pub fn state(state: &str) -> Self {
        Self(state.to_owned(), tone_of_state(state))
    }
}

impl<T: ToString + ?Sized> From<&T> for Cell {
    fn from(text: &T) -> Self {
        // What a device said must not reach the terminal as an escape sequence.
        Self(printable(&text.to_string()), Tone::Plain)
    }
}

/// The text with control characters replaced: names and notes come from devices.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// A table, printed in pieces: columns keep their width from the first piece on, or grow.
#[derive(Debug)]
pub struct Table<const N: usize> {
    headings: [&'static str; N],
    widths: [usize; N],
    colours: Colours,
    begun: bool,
}

impl<const N: usize> Table<N> {
    /// A table with these headings, for the standard output.
    pub fn new(headings: [&'static str; N]) -> Self {
        let widths = headings.map(|heading| heading.chars().count());
        Self { headings, widths, colours: Colours::of(&io::stdout()), begun: false }
    }

    /// Prints rows, under the headings if they are the first.
    ///
    /// # Errors
    /// The output is closed or full.
    pub fn print(&mut self, out: &mut impl Write, rows: &[[Cell; N]]) -> io::Result<()> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.0.chars().count());
            }
        }
        if !self.begun {
            self.begun = true;
            let headings = self.headings.map(|heading| Cell(heading.to_owned(), Tone::Dim));
            self.print_row(out, &headings)?;
        }
        rows.iter().try_for_each(|row| self.print_row(out, row))
    }

    fn print_row(&self, out: &mut impl Write, row: &[Cell; N]) -> io::Result<()> {
        let mut line = String::new();
        for (index, (Cell(text, tone), width)) in row.iter().zip(self.widths).enumerate() {
            line.push_str(&self.colours.paint(*tone, text));
            if index + 1 < N {
                let padding = width - text.chars().count() + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_a_devices_escape_sequences_do_not_reach_the_terminal() {
        let mut out = Vec::new();
        let mut table = Table::new(["ID", "VERSION", "NOTE"]);
        table.colours = Colours::Off;
        table
            .print(
                &mut out,
                &[
                    [(&"a").into(), (&"1.0.0").into(), (&"\x1b[31m").into()],
                    [(&"longer").into(), (&"2").into(), (&"").into()],
                ],
            )
            .unwrap();
        let expected = "ID      VERSION  NOTE\na       1.0.0    \u{fffd}[31m\nlonger  2\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
