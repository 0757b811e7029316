//! How far something is: live lines on a terminal, plain lines in a log, or nothing.

use super::parts::{Log, Part};
use super::{harmless, lively, talk, warning};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shows the stages of something long. Dropping it clears the live lines.
#[derive(Debug)]
pub(crate) enum Progress {
    Live(Live),
    Plain { subject: String, parts: Mutex<Log> },
    Silent,
}

/// A line for the stage, and one for each part of it that is coming.
#[derive(Debug)]
pub(crate) struct Live {
    all: MultiProgress,
    stage: ProgressBar,
    parts: Mutex<BTreeMap<usize, ProgressBar>>,
}

impl Progress {
    /// Live lines for a person; nothing otherwise, because stderr then belongs to the guest's command.
    pub(crate) fn live_or_silent(subject: &str) -> Self {
        if lively() { Self::Live(Live::new(subject)) } else { Self::Silent }
    }

    /// Live lines for a person; a line per stage otherwise.
    pub(crate) fn live_or_plain(subject: &str) -> Self {
        if lively() {
            Self::Live(Live::new(subject))
        } else {
            Self::Plain { subject: subject.to_owned(), parts: Mutex::default() }
        }
    }

    /// A new stage began.
    pub(crate) fn stage(&self, name: &str) {
        match self {
            Self::Live(live) => {
                live.clear_parts();
                live.stage.set_message(harmless(name));
            }
            Self::Plain { subject, parts } => {
                *held(parts) = Log::default();
                talk(format_args!("{subject}: {name}"));
            }
            Self::Silent => {}
        }
    }

    /// How far the present stage is, in bytes.
    pub(crate) fn bytes(&self, stage: &str, done: u64, total: u64) {
        if let Self::Live(live) = self {
            let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(0);
            live.stage.set_message(format!("{} {percent}%", harmless(stage)));
        }
    }

    /// How far one part of the present stage is.
    pub(crate) fn part(&self, part: Part) {
        match self {
            Self::Live(live) => live.part(part),
            Self::Plain { subject, parts } => {
                let line = held(parts).line(part, Instant::now());
                line.into_iter().for_each(|line| talk(format_args!("{subject}: {line}")));
            }
            Self::Silent => {}
        }
    }

    /// Something worth telling that is no failure; kept from a stderr that belongs to the guest's command.
    pub(crate) fn warn(&self, message: &str) {
        match self {
            Self::Live(live) => live.all.suspend(|| warning(message)),
            Self::Plain { .. } => warning(message),
            Self::Silent => {}
        }
    }
}

impl Live {
    fn new(subject: &str) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let stage = all.add(ProgressBar::no_length());
        stage.set_style(style("{spinner} {prefix}: {msg} {elapsed:.dim}"));
        stage.set_prefix(subject.to_owned());
        stage.enable_steady_tick(Duration::from_millis(100));
        Self { all, stage, parts: Mutex::default() }
    }

    /// A part that is here needs no line any more.
    fn part(&self, part: Part) {
        let mut parts = held(&self.parts);
        if part.is_here() {
            if let Some(bar) = parts.remove(&part.index) {
                self.all.remove(&bar);
            }
            return;
        }
        let bar = parts.entry(part.index).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(part.total));
            bar.set_style(style("  {prefix} [{bar:24}] {msg}").progress_chars("=> "));
            bar.set_prefix(part.name());
            bar
        });
        bar.set_position(part.done);
        bar.set_message(part.amount());
    }

    fn clear_parts(&self) {
        for bar in take(&mut *held(&self.parts)).into_values() {
            self.all.remove(&bar);
        }
    }
}

/// Nobody who has it does anything that could fail.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear_parts();
        self.stage.finish_and_clear();
    }
}
