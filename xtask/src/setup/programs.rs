//! Programs that cargo builds, because no distribution carries them in a version that will do.
//!
//! Each is pinned, so that two machines run the same thing. One that is on the PATH already is used as it is.

use crate::place::Place;
use crate::tool::{cargo, search};
use anyhow::Result;

/// A program to `cargo install`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
    build: Build,
}

/// What a build is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// It runs beside every guest: take the time.
    ToRunFast,
    /// It runs now and then, mostly waiting: half the build time is worth more than its speed.
    ToBuildFast,
}

/// QEMU's side of vsock; its socket behaves as Firecracker's does.
pub(super) const VHOST_DEVICE_VSOCK: Program =
    Program { name: "vhost-device-vsock", version: "0.3.0", features: &[], build: Build::ToRunFast };

/// Runs each test in a process of its own, with a time limit.
pub(super) const CARGO_NEXTEST: Program = Program {
    name: "cargo-nextest",
    version: "0.9.143",
    // Without it replacing itself over the network.
    features: &["--no-default-features", "--features", "default-no-update"],
    build: Build::ToBuildFast,
};

/// Looks over licences, banned crates and where crates come from.
pub(super) const CARGO_DENY: Program =
    Program { name: "cargo-deny", version: "0.20.2", features: &[], build: Build::ToBuildFast };

pub(super) fn install_missing(place: &Place, programs: &[Program]) -> Result<()> {
    for program in programs {
        if search(place, program.name).is_none() {
            println!("setup: building {} {} into {}", program.name, program.version, place.tools().display());
            install(place, program)?;
        }
    }
    Ok(())
}

fn install(place: &Place, program: &Program) -> Result<()> {
    let cargo = cargo(place)?
        .args(["install", "--locked", program.name, "--version", program.version, "--root"])
        .args([place.tools()])
        .args(["--target-dir".as_ref(), place.tools().join("build").as_os_str()])
        .args(program.features);
    match program.build {
        Build::ToRunFast => cargo,
        Build::ToBuildFast => cargo
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    }
    .run()
}
