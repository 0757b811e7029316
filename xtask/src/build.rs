//! Builds every program of banger into one folder, the way they are installed: side by side.
//!
//! `banger` looks for `bangerd`, `bangerd-root` and the agent beside itself, so this folder is all it takes to run
//! banger from a checkout. The agent is linked statically, because it becomes `/init` in guests that may hold no
//! C library. The flag for that is given to its build alone, in a target folder of its own: mixed with the others
//! it would make cargo rebuild everything whenever the two take turns.

use crate::place::Place;
use crate::tool::cargo;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};

/// What is built by the ordinary build.
const PROGRAMS: &[&str] = &["banger", "bangerd", "bangerd-root"];
const AGENT: &str = "banger-vsock-agent";
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Cargo's profile, and the name of its folder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }
}

/// Builds all of them and returns the folder they lie in.
pub(crate) fn all(place: &Place, profile: Profile) -> Result<PathBuf> {
    let folder = place.target.join(profile.folder());
    cargo(place)?
        .args(["build", "--workspace", "--bins", "--exclude", "xtask", "--exclude", "banger-guest-agent"])
        .args(["--target-dir".as_ref(), place.target.as_os_str()])
        .args(profile.arguments())
        .run()?;
    for program in PROGRAMS {
        ensure!(folder.join(program).exists(), "cargo built no `{program}`");
    }
    let agent = agent(place)?;
    install(&agent, &folder.join(AGENT))?;
    println!("build: {} lie in {}", [PROGRAMS, &[AGENT]].concat().join(", "), folder.display());
    Ok(folder)
}

/// The agent is always a release build: it is copied into every initrd and read at every boot.
fn agent(place: &Place) -> Result<PathBuf> {
    let target_folder = place.target.join("agent");
    cargo(place)?
        .args(["build", "--release", "--package", "banger-guest-agent", "--bin", AGENT])
        .args(["--target", AGENT_TARGET, "--target-dir"])
        .args([&target_folder])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .run()?;
    Ok(target_folder.join(AGENT_TARGET).join("release").join(AGENT))
}

/// Copies only when there is something new, so that the file's time tells when the agent last changed.
fn install(from: &Path, to: &Path) -> Result<()> {
    let new = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    // Under another name first: a guest may be starting from the old one.
    let unfinished = to.with_extension("new");
    std::fs::copy(from, &unfinished).with_context(|| format!("writing {}", unfinished.display()))?;
    std::fs::rename(&unfinished, to).with_context(|| format!("replacing {}", to.display()))
}
