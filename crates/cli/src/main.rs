//! `banger`: parse, call, print; and what needs the user's own session.
//!
//! Everything that is known about VMs, images and kernels is the daemon's ([`daemon`]); this program keeps no
//! state. It builds packages into archives ([`build`]) because that needs the user's own privileges, and it
//! brings the user's repositories into guests ([`git`], [`workspace`]), and it
//! speaks to the agent inside a guest itself ([`guest`]), over a connection the daemon hands it, so that no
//! byte of a command's input or output passes through anybody else.
//!
//! One file in [`commands`] is one command. Data goes to stdout and talk to stderr, both only through
//! [`printer`]; every failure leaves through [`failure`].

mod build;
mod catalog;
mod commands;
mod complete;
mod daemon;
mod export;
mod failure;
mod file_sync;
mod first_boot;
mod git;
mod guest;
mod marked_block;
mod places;
mod printer;
mod signals;
mod system;
mod tool;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    complete::answer_shell();
    match commands::Cli::from_command_line().and_then(commands::Cli::run) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => printer::failure(&failure),
    }
}
