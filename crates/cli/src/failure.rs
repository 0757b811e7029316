//! How a command fails: what the user is told, and the exit code.
//!
//! Each operation has its own error type; here they all become the one form in which users meet them: what did
//! not happen, why, what can be done about it, and the operation's id for whoever reads the logs.

use crate::catalog::CatalogError;
use banger_config::ConfigError;
use banger_protocol::ids::OperationId;
use banger_protocol::wire::{ConnectionError, ErrorKind, RpcError};
use std::error::Error;

/// What a command comes to: the exit code, or a failure to report.
pub(crate) type Outcome = Result<u8, Failure>;

/// It did not happen.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// banger failed before a guest's command could say anything for itself.
pub(crate) const NO_COMMAND: u8 = 125;
/// As a shell reports SIGPIPE: whoever read our output went away.
pub(crate) const READER_GONE: u8 = 141;

#[derive(Debug)]
pub(crate) struct Failure {
    pub code: u8,
    /// The daemon's word for it, if it was the daemon that refused.
    pub kind: Option<ErrorKind>,
    /// `None` when there is nothing to say, as after Ctrl-C.
    pub report: Option<Report>,
}

/// What the user is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub message: String,
    /// Outermost first.
    pub causes: Vec<String>,
    pub hints: Vec<String>,
    pub operation: Option<OperationId>,
}

impl Failure {
    pub(crate) fn quiet(code: u8) -> Self {
        Self { code, kind: None, report: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::message(message) }
    }

    pub(crate) fn message(message: impl Into<String>) -> Self {
        let report =
            Report { message: message.into(), causes: Vec::new(), hints: Vec::new(), operation: None };
        Self { code: FAILED, kind: None, report: Some(report) }
    }

    /// The error and the chain of its sources. A refusal of the daemon brings its own causes and hint.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::message(error.to_string());
        let Some(report) = &mut failure.report else { return failure };
        for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
            match refusal(cause) {
                Some(refusal) => {
                    failure.kind = Some(refusal.kind);
                    report.causes.push(refusal.message.clone());
                    report.add_details_of(refusal);
                }
                None => report.causes.push(cause.to_string()),
            }
        }
        failure
    }

    /// The same failure, told as the reason of a larger one.
    pub(crate) fn reason_for(mut self, message: impl Into<String>) -> Self {
        if let Some(report) = &mut self.report {
            report.causes.insert(0, std::mem::replace(&mut report.message, message.into()));
        }
        self
    }

    pub(crate) fn hints(&self) -> impl Iterator<Item = &String> {
        self.report.iter().flat_map(|report| &report.hints)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(report) = &mut self.report {
            report.hints.push(hint.into());
        }
        self
    }

    /// The same failure with the code that says the guest's command never ran. An interruption stays one.
    pub(crate) fn before_the_command(self) -> Self {
        Self { code: if self.code == FAILED { NO_COMMAND } else { self.code }, ..self }
    }
}

impl Report {
    fn add_details_of(&mut self, refusal: &RpcError) {
        self.causes.extend(refusal.causes.iter().cloned());
        self.hints.extend(refusal.hint.iter().cloned());
        self.operation = self.operation.take().or_else(|| refusal.operation.clone());
    }
}

fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RpcError> {
    match error.downcast_ref::<ConnectionError>() {
        Some(ConnectionError::Refused(refusal)) => Some(refusal),
        _ => error.downcast_ref::<RpcError>(),
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::of(&error).with_hint(error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(&error).with_hint(error.hint())
    }
}

impl From<RpcError> for Failure {
    fn from(refusal: RpcError) -> Self {
        let mut failure = Self::message(refusal.message.clone());
        failure.kind = Some(refusal.kind);
        if let Some(report) = &mut failure.report {
            report.add_details_of(&refusal);
        }
        failure
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Refused(refusal) => refusal.into(),
            lost => Self::of(&lost).reason_for("the daemon did not answer").with_hint(
                "`banger daemon status` shows whether it is running; the next command starts it again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("VM `dev` was not started")]
    struct Outer(#[source] RpcError);

    #[test]
    fn a_refusal_keeps_its_causes_its_hint_and_its_operation_wherever_it_sits() {
        let operation = OperationId::random();
        let mut refusal = RpcError::new(ErrorKind::OperationFailed, "the root disk was not created")
            .with_hint("free some space");
        refusal.causes = vec!["no space left on device".into()];
        refusal.operation = Some(operation.clone());

        let direct = Failure::from(refusal.clone()).report.unwrap();
        assert_eq!(direct.message, "the root disk was not created");
        assert_eq!(direct.causes, ["no space left on device"]);

        let wrapped = Failure::of(&Outer(refusal)).report.unwrap();
        assert_eq!(wrapped.message, "VM `dev` was not started");
        assert_eq!(wrapped.causes, ["the root disk was not created", "no space left on device"]);
        assert_eq!(wrapped.hints, ["free some space"]);
        assert_eq!(wrapped.operation, Some(operation));
    }

    #[test]
    fn only_a_plain_failure_becomes_the_code_for_no_command() {
        assert_eq!(Failure::message("x").before_the_command().code, NO_COMMAND);
        assert_eq!(Failure::quiet(130).before_the_command().code, 130);
        assert_eq!(Failure::usage("x").before_the_command().code, USAGE);
    }
}
