//! The figures banger promises, measured here and now: builds everything and starts `banger-bench`, which measures.

use crate::host::{Given, Host, LOST, Parcel, User, in_given};
use crate::place::Place;
use crate::tool::Tool;
use crate::{build, setup};
use anyhow::{Result, bail, ensure};
use std::path::Path;

/// Measures what the arguments ask for; see the crate `bench`.
pub(crate) fn run(place: &Place, arguments: &[&str]) -> Result<()> {
    setup::to_run(place)?;
    let programs = build::all(place, build::Profile::Release)?;
    match arguments {
        ["--on-host", arguments @ ..] => on_host(place, &programs, arguments),
        arguments => measure(place, &programs, arguments),
    }
}

/// The same in the test host, as an ordinary user: there is a KVM, and Firecracker if there is one here. What a program
/// of ours takes out here goes along, as what everything in the host is some times slower than.
fn on_host(place: &Place, programs: &Path, arguments: &[&str]) -> Result<()> {
    let parcel = Parcel::pack(place, programs)?;
    parcel.add_program(&programs.join(BENCH))?;
    let mut host = Host::developers_or_own(place)?;
    let given = Given::folder(place, &host, parcel.folder())?;
    drop(parcel);
    let outside = Tool::at(place, &programs.join(BENCH)).args(["inside", "work"]);
    let outside = outside.args([programs.join("banger")]).output()?;
    let (outside, bench) = (format!("{OUTSIDE}={}", outside.trim()), format!("programs/{BENCH}"));
    let words: Vec<&str> = ["env", &outside, &bench].into_iter().chain(arguments.iter().copied()).collect();
    let status = in_given(place, &host, User::Dev, &words)?.interactive().status()?;
    if status.code() == Some(LOST) {
        drop(given);
        bail!("the test host was lost while it was measured on\n{}", host.last_words()?);
    }
    given.take_back(place)?;
    ensure!(status.success(), "not all is as promised ({status})");
    Ok(())
}

/// What can be measured without a guest, held against the ratios that are written down.
pub(crate) fn check(place: &Place, programs: &Path) -> Result<()> {
    measure(place, programs, &["--only", "fakes", "--check", BASELINE])
}

const BENCH: &str = "banger-bench";
/// What `bench` reads it by.
const OUTSIDE: &str = "BANGER_BENCH_OUTSIDE_US";
const BASELINE: &str = "bench/baseline.toml";

fn measure(place: &Place, programs: &Path, arguments: &[&str]) -> Result<()> {
    Tool::at(place, &programs.join(BENCH)).args(arguments).env("BANGER_BIN_DIR", programs).run()
}
