//! A daemon and a guest's agent for the command to talk to, over real sockets and with nothing behind them.
//!
//! The daemon remembers what it was asked and has the few VMs a test gave it. The agent runs a guest's commands
//! as processes of this host, so that bytes, signals and exit codes are real ones.

#![expect(clippy::unwrap_used, reason = "a stand-in that cannot go on fails the test")]

mod agent;
mod daemon;
mod run;
mod session;
mod terminal;

pub(crate) use daemon::{FakeDaemon, Start};
pub(crate) use run::{Finished, World, in_background, signal};
pub(crate) use terminal::Terminal;
