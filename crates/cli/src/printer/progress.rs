//! How far something is: one live line on a terminal, plain lines in a log, or nothing.

use super::{lively, talk, warning};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Shows the stages of something long. Dropping it clears the live line.
#[derive(Debug)]
pub(crate) enum Progress {
    Live(ProgressBar),
    Plain { subject: String },
    Silent,
}

impl Progress {
    /// A live line for a person; nothing otherwise, because stderr then belongs to the guest's command.
    pub(crate) fn live_or_silent(subject: &str) -> Self {
        if lively() { Self::live(subject) } else { Self::Silent }
    }

    /// A live line for a person; a line per stage otherwise.
    pub(crate) fn live_or_plain(subject: &str) -> Self {
        if lively() { Self::live(subject) } else { Self::Plain { subject: subject.to_owned() } }
    }

    fn live(subject: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} {elapsed:.dim}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(subject.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Live(bar)
    }

    /// A new stage began.
    pub(crate) fn stage(&self, name: &str) {
        match self {
            Self::Live(bar) => bar.set_message(super::harmless(name)),
            Self::Plain { subject } => talk(format_args!("{subject}: {name}")),
            Self::Silent => {}
        }
    }

    /// How far the present stage is, in bytes.
    pub(crate) fn bytes(&self, stage: &str, done: u64, total: u64) {
        if let Self::Live(bar) = self {
            let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(0);
            bar.set_message(format!("{} {percent}%", super::harmless(stage)));
        }
    }

    /// Something worth telling that is no failure; kept from a stderr that belongs to the guest's command.
    pub(crate) fn warn(&self, message: &str) {
        match self {
            Self::Live(bar) => bar.suspend(|| warning(message)),
            Self::Plain { .. } => warning(message),
            Self::Silent => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Live(bar) = self {
            bar.finish_and_clear();
        }
    }
}
