//! What a machine does with a change, from nothing: the whole of it, in the order in which mistakes are cheapest.

use crate::place::Place;
use crate::rings::{self, Request};
use crate::{bench, build, check, setup};
use anyhow::Result;
use std::process::ExitCode;
use std::time::Instant;

/// The last line is that of the tests.
pub(crate) fn run(place: &Place) -> Result<ExitCode> {
    let begun = Instant::now();
    setup::everything(place)?;
    check::all(place)?;
    println!("ci: set up and checked after {} s", begun.elapsed().as_secs());
    let programs = build::all(place, build::Profile::Release)?;
    bench::check(place, &programs)?;
    println!("ci: built and measured after {} s", begun.elapsed().as_secs());
    rings::run(place, &Request::default())
}
