//! What is answered, and the faults that are.

use serde::Serialize;
use serde_json::json;

/// The answer to a request, and what happens once it is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    TurnOff,
}

impl Answer {
    pub(super) fn done() -> Self {
        Self { status: 204, body: String::new(), then: Then::GoOn }
    }

    pub(super) fn with(body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers serialise");
        Self { status: 200, body, then: Then::GoOn }
    }

    pub(super) fn fault(fault: &Fault) -> Self {
        let body = json!({"fault_message": fault.to_string()}).to_string();
        Self { status: 400, body, then: Then::GoOn }
    }
}

/// What the real one refuses, in words that begin as its do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("Invalid request method and/or path: {method} {path}.")]
    Path { method: &'static str, path: String },
    #[error("GET request cannot have a body.")]
    GetWithBody,
    #[error("Empty {0} request.")]
    Empty(&'static str),
    #[error("An error occurred when deserializing the json body of a request: {0}.")]
    Json(serde_json::Error),
    #[error("The ID cannot be empty.")]
    NoId,
    #[error("API Resource IDs can only contain alphanumeric characters and underscores.")]
    Id,
    #[error("The id from the path [{path}] does not match the id from the body [{body}]!")]
    OtherInterface { path: String, body: String },
    #[error("The id from the path does not match the id from the body!")]
    OtherDrive,
    #[error("The requested operation is not supported before starting the microVM.")]
    NotBefore,
    #[error("The requested operation is not supported after starting the microVM.")]
    NotAfter,
    /// What adding a device to a running machine comes to without `--enable-pci`.
    #[error("PCI is not enabled")]
    NoPci,
    #[error("Machine config error: {0}")]
    Machine(&'static str),
    #[error("Boot source error: {what} {source}")]
    Boot { what: &'static str, source: std::io::Error },
    #[error("Boot source error: The kernel command line is invalid: {0}")]
    CommandLine(&'static str),
    #[error("Drive config error: {0}")]
    Drive(String),
    #[error("Network config error: {0}")]
    Network(String),
    #[error(
        "Network config error: Could not create the network device: Open tap device failed: Error while creating ifreq structure: {source}. Invalid TUN/TAP Backend provided by {tap}."
    )]
    Tap { tap: String, source: std::io::Error },
    #[error("Vsock config error: Cannot create backend for vsock device: {0}")]
    Vsock(std::io::Error),
    #[error("Start microvm error: {0}")]
    Start(String),
}
