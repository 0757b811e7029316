//! Everything that crosses a process boundary in banger, and nothing else.
//!
//! Four programs talk to each other: `banger` to `bangerd` ([`daemon_api`]), `bangerd` to `bangerd-root` ([`root_api`]), and
//! the host to the agent in a guest over vsock ([`guest_api`]). Their messages are defined here, together with the wire
//! format ([`wire`]). This crate decides nothing about VMs, starts nothing, and keeps no state.
//!
//! Everything is parsed into a type that cannot hold an invalid value ([`ids`], [`names`], [`size`]), and unknown fields are
//! refused, so that a misspelt option is an error and not a silent default.

pub mod daemon_api;
pub mod digest;
pub mod guest_api;
pub mod ids;
pub mod image_config;
#[cfg(feature = "local-paths")]
pub mod local_paths;
pub mod names;
#[cfg(feature = "schema")]
pub mod openrpc;
pub mod root_api;
pub mod root_table;
pub mod size;
pub mod wire;

#[cfg(test)]
mod fuzz;

/// Version of the two Unix-socket protocols. Raised whenever an old and a new end would misunderstand each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// banger's own version, the same in every program built together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
