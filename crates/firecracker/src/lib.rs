//! A client for Firecracker's API socket, and knowledge about its versions.
//!
//! Only the calls that banger makes exist here. Starting the process, passing it files, and removing the sockets it leaves
//! behind is the caller's task; nothing here knows about banger's VMs.
//!
//! ```text
//! process started ─▶ Client::connect_when_up ─▶ configure(&Machine) ─▶ start ─▶ running ◀─pause/resume─▶ paused
//! ```
//!
//! A machine's configuration is a list of requests computed by [`Machine::requests`]; [`Client`] sends them in order over
//! one connection. Firecracker accepts or refuses each one, and its reason arrives as the source of an [`ApiError`].

mod client;
mod connection;
mod error;
mod machine;
mod metrics;
mod version;

pub use client::{Client, Instance, State};
pub use connection::API_SOCKET;
pub use error::{ApiError, Call, ConnectError, Fault, Method};
pub use machine::{Cache, DeviceName, Drive, Engine, InvalidName, Machine, Network, Request, Vsock};
pub use metrics::Metrics;
pub use version::{LEAST, NEWEST_TRIED, NotAVersion, Verdict, Version, judge};
