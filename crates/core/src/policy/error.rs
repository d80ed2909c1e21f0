//! Why a text is not a policy, and where.

use std::fmt;

/// A policy that does not compile: where, what stood there, and what was expected.
///
/// Lines and columns count from 1, columns in characters. `Display` gives one sentence; [`PolicyError::render`] adds
/// the line of the source with a caret under the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The line of the source.
    pub line: usize,
    /// The character within the line.
    pub column: usize,
    /// What stands there: a piece of the source in backquotes, or a description such as "the end of the policy".
    pub found: String,
    /// What could have stood there, in words.
    pub expected: String,
}

impl PolicyError {
    /// An error at a byte offset of the source.
    pub(super) fn at(source: &str, offset: usize, found: String, expected: impl Into<String>) -> Self {
        let before = &source[..offset.min(source.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
            found,
            expected: expected.into(),
        }
    }

    /// The message with the line of the source it speaks of and a caret under the column: three lines of text,
    /// without a newline at the end. `source` is the text that was compiled.
    #[must_use]
    pub fn render(&self, source: &str) -> String {
        let line = source.split('\n').nth(self.line - 1).unwrap_or_default();
        // A tab or another control character would move the caret away from its column.
        let shown: String =
            line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        format!("{shown}\n{caret:>column$}\n{self}", caret = '^', column = self.column)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(formatter, "line {}, ", self.line)?;
        }
        write!(formatter, "column {}: found {}, expected {}", self.column, self.found, self.expected)
    }
}

impl std::error::Error for PolicyError {}

/// A piece of the source as an error message shows it: in backquotes, cut when it is long.
pub(super) fn quoted(piece: &str) -> String {
    const SHOWN_MAX: usize = 32;
    let mut shown: String = piece.chars().take(SHOWN_MAX).flat_map(visible).collect();
    if piece.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A character as it can stand in a message: control characters escaped.
fn visible(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}
