//! Why Firecracker was not reached, or did not do what it was asked.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no connection to a Firecracker process.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the directory of the API socket could not be opened")]
    Folder(#[source] io::Error),
    #[error("Firecracker's API socket could not be connected to")]
    Socket(#[source] io::Error),
    #[error("the path of Firecracker's API socket is not a socket")]
    NotASocket,
    #[error("Firecracker did not open its API socket within {} s", .within.as_secs())]
    NotUp {
        within: Duration,
        #[source]
        last: io::Error,
    },
    #[error("the connection to Firecracker's API could not be set up")]
    Handshake(#[source] hyper::Error),
}

/// Why a call to Firecracker came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("Firecracker refused {call}")]
    Refused {
        call: Call,
        #[source]
        fault: Fault,
    },
    #[error("Firecracker did not answer {call} within {} s", .within.as_secs())]
    Silent { call: Call, within: Duration },
    #[error("the connection to Firecracker broke off at {call}")]
    Broken {
        call: Call,
        #[source]
        source: hyper::Error,
    },
    #[error("Firecracker answered {call} with status {status}, which is not agreed on")]
    Unexpected { call: Call, status: u16 },
    #[error("Firecracker answered {call} with more than {limit} bytes")]
    TooLong { call: Call, limit: usize },
    #[error("Firecracker answered {call} with something else")]
    Malformed {
        call: Call,
        #[source]
        source: serde_json::Error,
    },
}

impl ApiError {
    /// What was asked.
    #[must_use]
    pub fn call(&self) -> &Call {
        match self {
            Self::Refused { call, .. }
            | Self::Silent { call, .. }
            | Self::Broken { call, .. }
            | Self::Unexpected { call, .. }
            | Self::TooLong { call, .. }
            | Self::Malformed { call, .. } => call,
        }
    }
}

/// In characters. What was said becomes part of messages and records.
const LONGEST_FAULT: usize = 400;

/// What Firecracker said about a call it refused, fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    /// Control characters become spaces: whoever took over a VMM could write to a terminal with them.
    pub(crate) fn new(message: &str) -> Self {
        let printable: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self(printable.trim().chars().take(LONGEST_FAULT).collect())
    }
}

/// One call of the API, as its method and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub path: Cow<'static, str>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Patch,
}

impl Method {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_printable_whatever_the_vmm_wrote() {
        let fault = Fault::new("Boot source error: \u{1b}[2Jno\nkernel\u{7}");
        assert_eq!(fault.to_string(), "Boot source error:  [2Jno kernel");
    }
}
