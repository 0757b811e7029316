//! `banger`, the command-line client: it parses, calls the daemon, prints, and does what needs the user's own session.
//!
//! All state about VMs, images, and kernels is the daemon's ([`daemon`]); this program keeps none. It builds archives from
//! packages ([`build`]), because that needs the user's privileges, copies the user's repositories into guests ([`git`],
//! [`workspace`]), and talks to the agent in a guest directly ([`guest`]), over a connection passed by the daemon, so that
//! no byte of a command's input or output passes through any other process.
//!
//! Each file in [`commands`] is one command. Data goes to stdout and messages to stderr, both only through [`printer`];
//! every failure leaves through [`failure`].

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
