//! The processes that VMs consist of: starting them, and signalling them without ever meeting a stranger.
//!
//! A process is known by its number together with its start time. Nothing here remembers one: what runs is
//! found by looking ([`crate::inventory`]), so a helper that was killed and started again knows as much.

mod files;
mod folder;
mod jailed;
mod signal;
mod start;
mod turns;

pub(crate) use signal::{SignalError, kill_all, signal};
pub(crate) use start::{StartError, start};
pub(crate) use turns::Turns;
