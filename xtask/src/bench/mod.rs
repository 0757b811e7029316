//! The figures banger promises, measured here and now.
//!
//! Machines differ, so a promise is a ratio: banger's time beside the time of something else, taken in one run on
//! one machine. Each benchmark is a file of its own that returns a [`Figure`]; adding one is adding a line to
//! [`run`]. The table they make is the report, and a missed target fails the command.

mod exec_vs_sshd;
mod table;

use crate::place::Place;
use crate::{build, setup};
use anyhow::{Context as _, Result};
use std::process::ExitCode;
use std::time::Duration;

/// One promise and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What banger did.
    pub(super) what: &'static str,
    pub(super) took: Duration,
    /// What it is measured against.
    pub(super) against: &'static str,
    pub(super) against_took: Duration,
    /// Most of the other's time it may take.
    pub(super) at_most: f64,
}

impl Figure {
    fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.against_took.as_secs_f64()
    }

    /// A ratio that is no number, because the other took no time, is a miss.
    fn is_met(&self) -> bool {
        self.ratio() <= self.at_most
    }
}

pub(crate) fn run(place: &Place) -> Result<ExitCode> {
    setup::to_run(place)?;
    let programs = build::all(place, build::Profile::Release)?;
    let figures = [exec_vs_sshd::measure(place, &programs).context("measuring exec against sshd")?];
    println!("{}", machine());
    print!("{}", table::render(&figures));
    Ok(if figures.iter().all(Figure::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machine in one line: figures without it mean nothing.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = after_colon(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown processor".into());
    let memory = after_colon(&read("/proc/meminfo"), "MemTotal").unwrap_or("unknown".into());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("machine: {processors} × {processor}, {memory} memory, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn figure(took: u64, against_took: u64, at_most: f64) -> Figure {
        Figure {
            what: "first exec",
            took: Duration::from_millis(took),
            against: "sshd in the same boot",
            against_took: Duration::from_millis(against_took),
            at_most,
        }
    }

    #[test]
    fn a_target_is_met_up_to_its_ratio_and_missed_beyond() {
        assert!(figure(250, 1000, 0.25).is_met());
        assert!(!figure(251, 1000, 0.25).is_met());
    }

    #[test]
    fn measuring_against_nothing_is_a_miss() {
        assert!(!figure(250, 0, 0.25).is_met());
        assert!(!figure(0, 0, 0.25).is_met());
    }
}
