//! The test rings, from the cheapest outwards.
//!
//! A test's ring is told by where it lives, not by an attribute somebody can forget: beside the code it is *pure*;
//! in a test binary whose name begins with `fakes`, `kernel`, `guest` or `host` it is of that ring. A ring that runs no
//! test fails, because a suite that silently selects nothing looks exactly like a passing one.

mod on_host;
mod summary;

use crate::place::Place;
use crate::tool::{Tool, cargo};
use crate::{build, setup};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use summary::{Count, Verdict};

/// One ring of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// Functions from values to values.
    Pure,
    /// The real programs over their real sockets, with fakes in place of what they talk to.
    Fakes,
    /// The helper's effects on a kernel, in a network namespace of the test's own, and images as it mounts them.
    Kernel,
    /// Real guests, through the command line alone.
    Guest,
    /// The installed system, on a host of its own.
    Host,
}

impl Ring {
    const ALL: [Self; 5] = [Self::Pure, Self::Fakes, Self::Kernel, Self::Guest, Self::Host];

    fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Fakes => "fakes",
            Self::Kernel => "kernel",
            Self::Guest => "guest",
            Self::Host => "host",
        }
    }

    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Pure => &["--lib", "--bins"],
            Self::Fakes => &["--test", "fakes*"],
            Self::Kernel => &["--test", "kernel*"],
            Self::Guest => &["--test", "guest*"],
            Self::Host => &["--test", "host*"],
        }
    }
}

/// Which tests are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    rings: Vec<Ring>,
    /// Parts of test names; all tests when empty.
    names: Vec<String>,
    /// In the test host and not on this machine.
    on_host: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self { rings: Ring::ALL.to_vec(), names: Vec::new(), on_host: false }
    }
}

impl Request {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut rings = Vec::new();
        let mut on_host = false;
        let mut rest = arguments;
        loop {
            match rest {
                [] => break,
                ["--", ..] => break,
                ["--ring", name, tail @ ..] => {
                    let ring = Ring::ALL.into_iter().find(|ring| ring.name() == *name);
                    let Some(ring) = ring else {
                        bail!("there is no ring `{name}`: pure, fakes, kernel, guest, host")
                    };
                    rings.push(ring);
                    rest = tail;
                }
                ["--on-host", tail @ ..] => {
                    on_host = true;
                    rest = tail;
                }
                [other, ..] => {
                    bail!("`cargo xtask test` does not know `{other}` (test names come after `--`)")
                }
            }
        }
        let names = rest.iter().skip(1).map(ToString::to_string).collect();
        if rings.is_empty() {
            rings = Ring::ALL.to_vec();
        }
        if on_host && rings != [Ring::Guest] {
            bail!("only the ring `guest` runs in the test host: `--ring guest --on-host`");
        }
        Ok(Self { rings, names, on_host })
    }
}

/// Runs every ring asked for, whatever became of the one before.
///
/// Ends with a line for each ring and then the sum, alone on its line: `12 passed, 0 failed`.
pub(crate) fn run(place: &Place, request: &Request) -> Result<ExitCode> {
    setup::to_test(place)?;
    let programs = if request.rings == [Ring::Pure] {
        None
    } else {
        // The ones users get: unoptimised, they would make the outer rings wait longer than a user does.
        Some(build::all(place, build::Profile::Release)?)
    };
    let mut lines = Vec::new();
    let mut sum = Count::default();
    for &ring in &request.rings {
        println!("ring {}", ring.name());
        let outcome = match &programs {
            Some(programs) if request.on_host || ring == Ring::Host => {
                on_host::run(place, ring, &request.names, programs)?
            }
            _ => here(place, ring, &request.names, programs.as_deref())?,
        };
        if let Some(complaint) = outcome.verdict.complaint {
            println!("ring {}: {complaint}", ring.name());
        }
        let count = outcome.verdict.count;
        lines.push(format!("ring {}{}: {count}", ring.name(), outcome.remark));
        sum = sum + count;
    }
    for line in lines {
        println!("{line}");
    }
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a ring.
#[derive(Debug)]
struct Outcome {
    verdict: Verdict,
    /// Said of the ring in its closing line.
    remark: String,
}

/// Runs a ring on this machine.
fn here(place: &Place, ring: Ring, names: &[String], programs: Option<&Path>) -> Result<Outcome> {
    let mut nextest: Tool = cargo(place)?
        .args(["nextest", "run", "--workspace", "--no-fail-fast"])
        .args(["--target-dir".as_ref(), place.target.as_os_str()])
        .args(ring.targets())
        .args(names);
    if let Some(programs) = programs {
        nextest = nextest.env("BANGER_BIN_DIR", programs);
    }
    let (counted, status) = count(nextest, "")?;
    Ok(Outcome { verdict: summary::judge(counted, status.success()), remark: String::new() })
}

/// Runs a test runner in full view, `mark` before every line of it, and reads what it counted.
fn count(nextest: Tool, mark: &str) -> Result<(Option<Count>, ExitStatus)> {
    let mut counted = None;
    let status = nextest.watch_stderr(mark, |line| counted = summary::parse(line).or(counted))?;
    Ok((counted, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_runs_unless_one_is_named() {
        assert_eq!(Request::parse(&[]).expect("no argument is fine"), Request::default());
        let request =
            Request::parse(&["--ring", "guest", "--ring", "pure", "--", "boots"]).expect("it parses");
        assert_eq!(
            request,
            Request { rings: vec![Ring::Guest, Ring::Pure], names: vec!["boots".to_owned()], on_host: false }
        );
    }

    #[test]
    fn the_test_host_runs_guest_tests_and_no_other() {
        let request = Request::parse(&["--on-host", "--ring", "guest"]).expect("it parses");
        assert_eq!(request, Request { rings: vec![Ring::Guest], names: Vec::new(), on_host: true });
        for wrong in [&["--on-host"][..], &["--ring", "pure", "--ring", "guest", "--on-host"]] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_misspelt_ring_or_flag_is_refused_and_not_taken_for_no_test() {
        for wrong in [&["--ring", "gest"][..], &["--ring"], &["guest"], &["--rings", "pure"]] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
