//! Firecracker in the host, if there is one to be had.
//!
//! It is taken from where the developer says, or from the PATH; nothing here fetches it. Only a static one will
//! do: it has to start in the jailer's empty root.

use super::Host;
use super::login::User;
use crate::place::Place;
use crate::tool::search;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::path::PathBuf;

const PROGRAMS: [(&str, &str); 2] = [("firecracker", "BANGER_FIRECRACKER"), ("jailer", "BANGER_JAILER")];

/// Installs what there is of the two into `/usr/local/bin`, and has each say its version.
pub(super) fn install(place: &Place, host: &Host) -> Result<()> {
    for (name, variable) in PROGRAMS {
        let Some(program) = find(place, name, variable)? else {
            println!("host: there is no {name} here (set {variable}, or have it on the PATH)");
            continue;
        };
        let file = File::open(&program).with_context(|| format!("opening {}", program.display()))?;
        let there = format!("/usr/local/bin/{name}");
        host.command(place, User::Root, &["install", "-m", "0755", "/dev/stdin", &there])?
            .reading(file)
            .run()?;
        let version =
            host.command(place, User::Dev, &[&there, "--version"])?.output().with_context(|| {
                format!("{} does not run in the host; is it a static one?", program.display())
            })?;
        println!("host: {}", version.lines().next().unwrap_or_default());
    }
    Ok(())
}

fn find(place: &Place, name: &str, variable: &str) -> Result<Option<PathBuf>> {
    let Some(given) = std::env::var_os(variable).map(PathBuf::from) else {
        return Ok(search(place, name));
    };
    if !given.is_file() {
        bail!("{variable} names {}, which is no file", given.display());
    }
    Ok(Some(given))
}
