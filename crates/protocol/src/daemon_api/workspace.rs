//! What of the user's own files is inside a VM.
//!
//! The daemon copies nothing and looks into no folder: it keeps turns and remembers. Whoever copies takes a [`Turn`],
//! does the work over connections of `vm.connect`, and says in the end what lies where ([`Record`]). The turn is the
//! connection's it was taken on: it goes with that, however that ends.

use crate::ids::VmId;
use crate::names::{VmName, VmRef};
use serde::{Deserialize, Serialize};

/// A folder of the host as it was brought into a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The folder on the host: of a repository, its working tree.
    pub host_path: String,
    /// Where it lies in the guest, absolute.
    pub guest_path: String,
    /// The commit that was checked out, in full; `None` before the first commit, and of a folder that is no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The branch it is on in the guest; `None` when it is detached, or no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The tree that was sent, the working tree's changes in it, as the host's git names it. `None` of a folder that is no
    /// repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_tree: Option<String>,
    pub mode: Mode,
    #[serde(default)]
    pub chosen: Chosen,
    /// RFC 3339, UTC.
    pub prepared: String,
}

/// What was asked for when a folder was brought in; it holds for every time after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Files that git does not know and does not ignore go along.
    #[serde(default)]
    pub include_untracked: bool,
    /// The guest is on this branch, whichever the host is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The name of a commit that goes in instead of the working tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "WorkspaceMode"))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The last commits, and what the working tree changes in them.
    #[default]
    Shallow,
    /// Every file there is.
    FullCopy,
}

/// Takes the VM's turn, after whoever has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    pub vm: VmRef,
}

/// Nobody else changes this VM's workspace as long as the connection is there, or until it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Turn {
    pub id: VmId,
    pub name: VmName,
    /// What lies in it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
}

/// Says what lies in the VM now, and gives its turn back. `prepared` is the daemon's to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub vm: VmRef,
    pub workspace: Workspace,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub vm: VmRef,
}

/// What is known of a VM's workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStatus {
    pub id: VmId,
    pub name: VmName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Whether somebody has the turn.
    pub busy: bool,
}
