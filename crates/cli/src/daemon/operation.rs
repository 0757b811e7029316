//! Waiting for a long request, and ending it early when the user does not want it any more.

use super::Daemon;
use crate::failure::Failure;
use crate::printer::Progress;
use crate::signals::{Signals, asks_to_end, exit_code};
use banger_protocol::daemon_api::operation::{Cancel, Event, OperationState, Watch};
use banger_protocol::ids::OperationId;
use banger_protocol::wire::{ConnectionError, ErrorKind, RpcError};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Why an operation brought no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Failed(RpcError),
    /// By the user, with this signal, or by somebody else.
    #[error("it was cancelled")]
    Cancelled { signal: Option<i32> },
    /// The user asked to end, but it was done already.
    #[error("it finished before it could be cancelled")]
    TooLate { signal: i32 },
    #[error("the daemon exited before the operation was done")]
    Lost(#[source] ConnectionError),
    #[error("the operation's result has an unexpected form")]
    UnexpectedResult(#[source] serde_json::Error),
}

impl From<FollowError> for Failure {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Failed(refusal) => refusal.into(),
            FollowError::Cancelled { signal: Some(signal) } | FollowError::TooLate { signal } => {
                Self::quiet(exit_code(signal))
            }
            FollowError::Cancelled { signal: None } => {
                Self::message("the operation was cancelled by another client")
            }
            FollowError::Lost(_) | FollowError::UnexpectedResult(_) => Self::of(&error),
        }
    }
}

/// Waits for the operation's result. With `signals`, the first that asks to end cancels the operation, which is
/// then waited for; the next one ends this program and leaves the rest to the daemon.
pub(crate) fn follow<T: DeserializeOwned>(
    daemon: &mut Daemon,
    operation: impl Into<OperationId>,
    signals: Option<&Signals>,
    progress: &Progress,
) -> Result<T, FollowError> {
    let operation = operation.into();
    let caught = Arc::new(AtomicI32::new(0));
    let _directed = signals.map(|signals| {
        let (operation, caught) = (operation.clone(), Arc::clone(&caught));
        signals.direct(move |signal| cancel_or_end(&operation, &caught, signal))
    });
    let mut stage = String::new();
    let watch = Watch { operation };
    let watched = daemon.connection.call_with(&watch, &[], |event| show(event.get(), &mut stage, progress));
    let state = match watched {
        Ok((view, _)) => view.state,
        Err(ConnectionError::Refused(refusal)) => return Err(FollowError::Failed(refusal)),
        Err(error) => return Err(FollowError::Lost(error)),
    };
    let signal = Some(caught.load(Ordering::SeqCst)).filter(|&signal| signal != 0);
    match state {
        OperationState::Succeeded(value) => match signal {
            Some(signal) => Err(FollowError::TooLate { signal }),
            None => serde_json::from_value(value).map_err(FollowError::UnexpectedResult),
        },
        OperationState::Failed(refusal) if refusal.kind == ErrorKind::Cancelled => {
            Err(FollowError::Cancelled { signal })
        }
        OperationState::Failed(refusal) => Err(FollowError::Failed(refusal)),
        OperationState::Cancelled => Err(FollowError::Cancelled { signal }),
        // A watch answers when the operation has ended; one that still runs is a daemon's mistake.
        OperationState::Running => Err(FollowError::Lost(ConnectionError::Closed)),
    }
}

fn cancel_or_end(operation: &OperationId, caught: &AtomicI32, signal: i32) {
    if !asks_to_end(signal) {
        return;
    }
    if caught.swap(signal, Ordering::SeqCst) != 0 {
        std::process::exit(i32::from(exit_code(signal)));
    }
    let operation = operation.clone();
    // A thread, because cancelling waits until everything was released and a second Ctrl-C must get through.
    std::thread::spawn(move || {
        // A daemon that is gone cancels nothing; the watch notices that by itself.
        if let Ok(mut other) = Daemon::connect() {
            let _ = other.call(&Cancel { operation });
        }
    });
}

/// An event this version does not know is nothing to fail for.
fn show(event: &str, stage: &mut String, progress: &Progress) {
    match serde_json::from_str(event) {
        Ok(Event::Stage { name, .. }) => {
            *stage = in_words(&name);
            progress.stage(stage);
        }
        Ok(Event::Progress { done, total }) => progress.bytes(stage, done, total),
        Ok(Event::Warning { message }) => progress.warn(&message),
        Err(_) => {}
    }
}

/// What a stage means to somebody who waits for it; one that this version does not know goes by its name.
fn in_words(stage: &str) -> String {
    match stage {
        "stop" => "stopping".to_owned(),
        "preflight" => "checking requirements".to_owned(),
        "disks" => "creating disks".to_owned(),
        "network" => "setting up the network".to_owned(),
        "vmm" => "starting the VMM".to_owned(),
        "agent" => "waiting for the guest to boot".to_owned(),
        "usable" => "waiting for the guest to be ready".to_owned(),
        other => other.replace('_', " "),
    }
}
