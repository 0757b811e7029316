//! Virtual machines.

use super::operation::OperationStarted;
use crate::ids::VmId;
use crate::names::{ImageName, KernelName, VmName, VmRef};
use crate::root_api::Acceleration;
use crate::size::ByteSize;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Everything not given is the daemon's configured default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Create {
    #[serde(default)]
    pub name: Option<VmName>,
    #[serde(default)]
    pub image: Option<ImageName>,
    #[serde(default)]
    pub kernel: Option<KernelName>,
    #[serde(default)]
    pub vcpu: Option<u32>,
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Of the work disk, which is the guest's `/root`.
    #[serde(default)]
    pub disk_size: Option<ByteSize>,
    /// Whether it reaches the world: public addresses, by way of the host.
    #[serde(default)]
    pub nat: bool,
    /// Delete the VM when the connection that asked for it ends, once it is up. While it is still coming up,
    /// the end of the connection removes it; a VM that failed to come up is kept with its log.
    #[serde(default)]
    pub lease: bool,
    /// Only reserve and record it.
    #[serde(default)]
    pub no_start: bool,
    /// Count it as running when its agent answers, without waiting for the guest to be usable.
    #[serde(default)]
    pub early: bool,
}

/// What of a [`Create`] can be judged without its image and its kernel, which may have to be made first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(default)]
    pub name: Option<VmName>,
    #[serde(default)]
    pub vcpu: Option<u32>,
    #[serde(default)]
    pub memory: Option<ByteSize>,
    #[serde(default)]
    pub disk_size: Option<ByteSize>,
    #[serde(default)]
    pub nat: Option<bool>,
}

/// Nothing speaks against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Checked {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Created {
    pub operation: super::operation::OperationStarted,
    pub id: VmId,
    pub name: VmName,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub vm: VmRef,
    #[serde(default)]
    pub early: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub vm: VmRef,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Restart {
    pub vm: VmRef,
    #[serde(default)]
    pub early: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub vm: VmRef,
    #[serde(default)]
    pub signal: KillSignal,
}

/// What the VMM is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KillSignal {
    /// It ends by itself, and is killed if it does not soon.
    Term,
    #[default]
    Kill,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pause {
    pub vm: VmRef,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resume {
    pub vm: VmRef,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Delete {
    pub vm: VmRef,
    /// Refuse instead of stopping it first: for callers who found it stopped a while ago.
    #[serde(default)]
    pub unless_running: bool,
}

/// What is not given stays as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub vm: VmRef,
    #[serde(default)]
    pub vcpu: Option<u32>,
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Of the work disk; one that has been written to only grows.
    #[serde(default)]
    pub disk_size: Option<ByteSize>,
    /// Of a running VM too.
    #[serde(default)]
    pub nat: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "VmDeleted"))]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    pub id: VmId,
    pub name: VmName,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct List {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Show {
    pub vm: VmRef,
}

/// A VM as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VmView {
    pub id: VmId,
    pub name: VmName,
    pub state: State,
    /// Why it is failed, or how it came to be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub image: ImageName,
    pub kernel: KernelName,
    pub address: Ipv4Addr,
    pub vcpu: u32,
    /// Bytes.
    pub memory: ByteSize,
    /// Bytes of the work disk.
    pub disk_size: ByteSize,
    /// Whether it reaches the world.
    pub nat: bool,
    /// RFC 3339, UTC.
    pub created: String,
    /// Whether it goes with the connection that asked for it.
    pub lease: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningView>,
    /// What of the user's files is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<super::workspace::Workspace>,
    /// How the last start went, in the order it went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTiming>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    Created,
    Starting,
    Running,
    Paused,
    Stopping,
    Stopped,
    Failed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// What is true only of a running VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunningView {
    pub pid: u32,
    pub vmm: String,
    pub acceleration: Acceleration,
    pub boot_id: String,
    /// RFC 3339, UTC.
    pub since: String,
}

/// One stage of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StageTiming {
    pub name: String,
    pub took_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stats {
    pub vm: VmRef,
}

/// What a VM takes of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VmStats {
    pub id: VmId,
    pub name: VmName,
    pub state: State,
    /// What its files take on the host's disk, in bytes.
    pub disk: ByteSize,
    /// Only of one that is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningStats>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunningStats {
    /// Of one processor, lately; `None` when it has not run long enough to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
    /// Processor time of its VMM so far.
    pub cpu_ms: u64,
    /// What of its VMM is in the host's memory, the guest's own included, in bytes.
    pub memory: ByteSize,
    /// Since it came up.
    pub uptime_ms: u64,
    /// What went through its disks and its network, lately; `None` in its first minute, and always of one that QEMU
    /// runs, which does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoRates>,
}

/// Bytes a second, over the last minute that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IoRates {
    pub disk_read: ByteSize,
    pub disk_written: ByteSize,
    /// By the guest.
    pub net_received: ByteSize,
    pub net_sent: ByteSize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub vm: VmRef,
}

/// How a running guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VmHealth {
    pub id: VmId,
    pub name: VmName,
    /// Its agent answers, from the boot that is on record, and commands can be run.
    pub healthy: bool,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What its agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<crate::guest_api::Health>,
    /// The word of `systemctl is-system-running`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ports {
    pub vm: VmRef,
}

/// A TCP port on which something in a guest listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PortView {
    /// `name.vm:port`.
    pub endpoint: String,
    pub port: u16,
    /// Addresses of the guest it listens on; `0.0.0.0` and `::` are all of them.
    pub addresses: Vec<IpAddr>,
    /// The listening program's name, as the guest tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Where it answers HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Logs {
    pub vm: VmRef,
    /// First byte wanted.
    pub offset: u64,
}

/// A piece of the console, at most 128 KiB of it; bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogChunk {
    pub text: String,
    /// Where the next piece starts; the same as asked for when there is no more.
    pub next_offset: u64,
    /// Whether the VM may still write more.
    pub live: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Connect {
    pub vm: VmRef,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Connected {
    pub id: VmId,
    /// What of the user's files is in it, where commands run unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<super::workspace::Workspace>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    pub vm: VmRef,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SshAccess {
    pub name: VmName,
    /// The guest's ssh host key in authorized_keys form: type and base64.
    pub host_key: String,
    /// banger's own private key, for `ssh -i`.
    pub identity_file: String,
    /// Whether the image has an ssh server.
    pub has_sshd: bool,
}

impl From<OperationStarted> for crate::ids::OperationId {
    fn from(started: OperationStarted) -> Self {
        started.operation
    }
}
