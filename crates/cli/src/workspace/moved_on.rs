//! Whether the host has gone on without the guest.

use banger_protocol::daemon_api::workspace::Workspace;
use std::path::Path;

/// Whether the repository that a workspace came from is at another commit now; not known of one that is gone.
pub(crate) fn has_moved_on(workspace: &Workspace) -> bool {
    let Some(head) = &workspace.head else { return false };
    let now = crate::git::Git::at(Path::new(&workspace.host_path))
        .and_then(|git| git.find(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]));
    now.is_ok_and(|now| now.is_some_and(|now| now != head.as_bytes()))
}
