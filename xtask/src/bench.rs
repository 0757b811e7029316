//! The figures banger promises, measured here and now: builds everything and starts `banger-bench`, which measures.

use crate::place::Place;
use crate::tool::Tool;
use crate::{build, setup};
use anyhow::Result;
use std::path::Path;

/// Measures what the arguments ask for; see the crate `bench`.
pub(crate) fn run(place: &Place, arguments: &[&str]) -> Result<()> {
    setup::to_run(place)?;
    let programs = build::all(place, build::Profile::Release)?;
    measure(place, &programs, arguments)
}

/// What can be measured without a guest, held against the ratios that are written down.
pub(crate) fn check(place: &Place, programs: &Path) -> Result<()> {
    measure(place, programs, &["--only", "fakes", "--check", BASELINE])
}

const BASELINE: &str = "bench/baseline.toml";

fn measure(place: &Place, programs: &Path, arguments: &[&str]) -> Result<()> {
    Tool::at(place, &programs.join("banger-bench")).args(arguments).env("BANGER_BIN_DIR", programs).run()
}
