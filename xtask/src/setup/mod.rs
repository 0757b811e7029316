//! Installs what is missing, and only that, saying so before it does.
//!
//! Two sources: the distribution's packages ([`packages`]), and programs that no distribution carries yet, which
//! cargo builds into `target/tools` ([`programs`]). With everything there nothing is asked of anybody: no sudo,
//! no network, no output but one line.

mod packages;
mod programs;

use crate::place::Place;
use anyhow::Result;

/// What running banger needs.
pub(crate) fn to_run(place: &Place) -> Result<()> {
    packages::install_missing(place)?;
    programs::install_missing(place, &[programs::VHOST_DEVICE_VSOCK])
}

/// What running its tests needs.
pub(crate) fn to_test(place: &Place) -> Result<()> {
    to_run(place)?;
    programs::install_missing(place, &[programs::CARGO_NEXTEST])
}

/// What looking over its sources needs.
pub(crate) fn to_check(place: &Place) -> Result<()> {
    programs::install_missing(place, &[programs::CARGO_DENY])
}

pub(crate) fn everything(place: &Place) -> Result<()> {
    to_test(place)?;
    to_check(place)?;
    println!("setup: everything is there");
    Ok(())
}
