//! The error that crosses a socket.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing went wrong, for programs; the text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    BadVersion,
    UnknownMethod,
    BadRequest,
    NotFound,
    NotRunning,
    AlreadyExists,
    Refused,
    Unauthorized,
    Unavailable,
    OperationFailed,
    Cancelled,
}

/// An answer that says what did not happen.
///
/// `message` names the thing and what did not happen to it; `causes` are the reasons, outermost first, none
/// of them repeated in the message; `hint` says what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcError {
    pub kind: ErrorKind,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The operation this belongs to, for looking it up in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<crate::ids::OperationId>,
}

impl RpcError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, operation: None }
    }

    /// An error with the whole chain of its sources.
    #[must_use]
    pub fn from_error(kind: ErrorKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |e| e.source()).map(ToString::to_string).collect();
        Self { causes, ..Self::new(kind, error.to_string()) }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}
