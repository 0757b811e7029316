//! Everything that can be said about the sources without running them.

use crate::place::Place;
use crate::tool::cargo;
use crate::{setup, tidy};
use anyhow::Result;

pub(crate) fn all(place: &Place) -> Result<()> {
    step("formatting");
    cargo(place)?.args(["fmt", "--all", "--check"]).run()?;

    step("tidiness");
    tidy::check(place)?;

    step("lints");
    cargo(place)?
        .args(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
        .run()?;

    step("licences, banned crates, sources");
    setup::to_check(place)?;
    cargo(place)?.args(["deny", "check", "licenses", "bans", "sources"]).run()?;

    step("documentation");
    cargo(place)?
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        // Private items are documented for those who work on them, so links to them lead somewhere.
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
        .run()?;
    println!("check: all is well");
    Ok(())
}

fn step(name: &str) {
    println!("check: {name}");
}
