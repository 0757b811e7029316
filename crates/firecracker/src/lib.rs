//! What banger asks of a Firecracker process: a client for its API socket, and what its versions mean.
//!
//! Only the calls that banger makes exist here. Starting the process, giving it files it may open and removing the
//! sockets it leaves behind is the caller's part; nothing in here knows a VM of banger's.
//!
//! ```text
//! process started ─▶ Client::connect_when_up ─▶ configure(&Machine) ─▶ start ─▶ running ◀─pause/resume─▶ paused
//! ```
//!
//! What a machine is asked for with is a list of requests that [`Machine::requests`] computes; [`Client`] sends
//! them one after the other over one connection. Firecracker decides about each by itself and names what it does
//! not like, which arrives as the source of an [`ApiError`].

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
