//! What the demonstration shows: a bar for the rollout and counts per state on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use updraft_core::state::StateKind;
use updraft_wire::operator::rollout::Status;

/// The board. Lines go above the bar.
pub(super) struct Board {
    bar: ProgressBar,
    is_terminal: bool,
    /// The line shown last where there is no bar, so that only news is printed.
    last: Mutex<String>,
}

impl Board {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("  {prefix} [{bar:32}] {pos}/{len}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Self { bar, is_terminal, last: Mutex::default() }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            // A closed standard output is no reason to stop: the exit status is the answer then.
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    }

    /// Where a rollout stands.
    pub(super) fn show(&self, status: &Status, devices: u64) {
        let (ended, text) = (ended(status), counts(status));
        if self.is_terminal {
            if self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stdout());
            }
            self.bar.set_length(devices);
            self.bar.set_prefix(status.brings());
            self.bar.set_position(ended);
            self.bar.set_message(text);
            return;
        }
        let line = format!("  {} {ended}/{devices}  {text}", status.brings());
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != line {
            self.say(&line);
            *last = line;
        }
    }

    /// Leaves the rollout's last line standing.
    pub(super) fn finish(&self, status: &Status, devices: u64) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.say(&format!(
            "{}: {} of {devices} devices ended: {}",
            status.brings(),
            ended(status),
            counts(status)
        ));
    }
}

fn ended(status: &Status) -> u64 {
    let closed = StateKind::ALL.iter().filter(|kind| !kind.is_open());
    closed.filter_map(|kind| status.counts.get(kind.as_str())).sum()
}

/// The states in which devices are, in the order of a good life.
fn counts(status: &Status) -> String {
    let count = |kind: &StateKind| {
        let count = *status.counts.get(kind.as_str())?;
        (count > 0).then(|| format!("{kind} {count}"))
    };
    let counts: Vec<_> = StateKind::ALL.iter().filter_map(count).collect();
    if counts.is_empty() { "nobody has asked yet".to_owned() } else { counts.join(", ") }
}
