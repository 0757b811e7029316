//! Waiting for QEMU's vsock backend.
//!
//! QEMU connects to it once and gives up when it is refused, and a trial connection would be taken for QEMU. That
//! the socket's file is there is not enough: it appears with `bind`, and a moment may pass until `listen`. So the
//! kernel is asked which sockets listen.

use super::boot::first_end;
use crate::sockets::listens;
use banger_protocol::root_api::{ProcessIdentity, VHOST_SOCKET};
use std::path::Path;
use std::time::Duration;

/// How long the backend may take to listen; it does nothing before that.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The backend ended, or did nothing for too long.
#[derive(Debug, thiserror::Error)]
#[error("the vsock backend did not listen")]
pub(crate) struct BackendSilent;

pub(super) async fn wait_until_listening(
    folder: &Path,
    backend: ProcessIdentity,
) -> Result<(), BackendSilent> {
    let socket = folder.join(VHOST_SOCKET);
    let listening = async {
        // The table has the sockets of every VM, and is read only when it can have this one's.
        while socket.symlink_metadata().is_err() || !listens(backend.pid, folder, VHOST_SOCKET) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let processes = [backend];
    tokio::select! {
        () = listening => Ok(()),
        () = first_end(&processes) => Err(BackendSilent),
        () = tokio::time::sleep(DEADLINE) => Err(BackendSilent),
    }
}
