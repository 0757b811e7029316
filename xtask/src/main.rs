//! Every developer command, as `cargo xtask <command>`.
//!
//! Whoever clones this repository needs Rust, git and nothing else to find out whether it works: what is missing
//! is installed by [`setup`], what is built is built by [`build`], and [`ci`] is all of it in one row. There are
//! no shell scripts beside this program, and nothing here is needed to use banger.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command talks to its developer"
)]

mod bench;
mod build;
mod bundle;
mod check;
mod ci;
mod demo;
mod fuzz;
mod host;
mod package;
mod place;
mod rings;
mod setup;
mod tidy;
mod tool;

use anyhow::{Result, bail};
use place::Place;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup            install what is missing on this machine, saying so first
  build [--release]
                   all programs and the static guest agent, in target/<profile>/
  check            formatting, lints, tidiness, licences, documentation
  test [--ring pure|fakes|kernel|guest|host]... [--on-host] [-- NAME...]
                   the tests; every ring unless told which, every test unless named;
                   with `--ring guest --on-host` in the test host
  fuzz [--runs N] [--seed N] [NAME...]
                   a million hostile inputs for whatever parses, or so many
  demo             a command in a real guest, and how long that guest took to boot
  host             a whole Debian to test on: systemd, device mapper, KVM (says more when called)
  bench [--on-host] [--only fakes|guest] [--json FILE] [--check FILE] [NAME...]
                   the figures banger promises, measured here
  package          a Debian package of all of it, in target/package/
  bundle image|kernel NAME --key FILE [--out DIR] [--url BASE] [--banger PROGRAM]
                   a signed bundle of what banger has here, and its entry for a catalog
  ci               setup, check, build and all tests

`test`, `demo`, `bench` and `ci` run `setup` and `build` themselves.";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<ExitCode> {
    let place = Place::find()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host", rest @ ..] => return host::run(&place, rest),
        [] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => println!("{USAGE}"),
        ["setup"] => setup::everything(&place)?,
        ["build"] => drop(build::all(&place, build::Profile::Dev)?),
        ["build", "--release"] => drop(build::all(&place, build::Profile::Release)?),
        ["check"] => check::all(&place)?,
        ["test", rest @ ..] => return rings::run(&place, &rings::Request::parse(rest)?),
        ["fuzz", rest @ ..] => fuzz::run(&place, &fuzz::Request::parse(rest)?)?,
        ["demo"] => demo::run(&place)?,
        ["package"] => drop(package::run(&place)?),
        ["bench", rest @ ..] => bench::run(&place, rest)?,
        ["bundle", rest @ ..] => bundle::run(&place, rest)?,
        ["ci"] => return ci::run(&place),
        _ => bail!("`{}` is not a command\n\n{USAGE}", words.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}
