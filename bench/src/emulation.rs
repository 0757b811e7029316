//! How much slower our programs are in a test host, whose processor is emulated.
//!
//! The same program starts and ends here and, before, outside of the host, where `cargo xtask bench --on-host` measures
//! it and says so in [`OUTSIDE`]. What is compared is processor time: loading a program of ours, its system calls and
//! page faults, which is most of what ours do. It takes in what a busy machine takes from the host, as the figures do
//! that are divided by it.

use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The variable with the processor time of one start, in microseconds, outside of the host.
const OUTSIDE: &str = "BANGER_BENCH_OUTSIDE_US";
/// The kernel tells processor time in hundredths of a second, so that one start is none of it.
const STARTS: u32 = 100;

/// What it takes outside; `None` where there is no outside.
pub(crate) fn outside() -> Result<Option<Duration>> {
    let told = std::env::var(OUTSIDE).ok();
    let told = told.map(|told| told.parse().with_context(|| format!("{OUTSIDE} is no number")));
    Ok(told.transpose()?.map(Duration::from_micros))
}

/// Processor time of one start of a program of ours, up to its end.
#[expect(clippy::disallowed_methods, reason = "starting it is what is measured")]
pub(crate) fn work_of(program: &Path) -> Result<Duration> {
    let before = of_children()?;
    for _ in 0..STARTS {
        let mut start = Command::new(program);
        start.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        let status = start.status().with_context(|| format!("starting {}", program.display()))?;
        ensure!(status.success(), "{} --version ended with {status}", program.display());
    }
    Ok(of_children()?.saturating_sub(before) / STARTS)
}

/// Processor time so far of all who were waited for.
fn of_children() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    crate::samples::ticks(&stat, 13..15).context("our own account")
}

/// How many times as long it takes here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    here: Value,
    outside: Value,
}

impl Factor {
    pub(crate) fn new(outside: Duration, here: Vec<Duration>) -> Self {
        Self { here: Samples::new(here).median(), outside: Samples::new([outside]).median() }
    }

    pub(crate) fn line(self) -> Line {
        Line::new("emulation", "  emulation: CPU of `banger --version`", self.here, Target::Told)
            .against("outside of the host", self.outside)
    }

    /// What a time of here would be without emulation.
    pub(crate) fn without(self, time: Value) -> Value {
        Value::Milliseconds(time.number() * self.outside.number() / self.here.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_divided_by_how_much_slower_the_same_work_was() {
        let ms = Duration::from_millis;
        let factor = Factor::new(ms(2), vec![ms(60), ms(40), ms(90)]);
        assert_eq!(factor.without(Value::Milliseconds(360.0)), Value::Milliseconds(12.0));
    }
}
