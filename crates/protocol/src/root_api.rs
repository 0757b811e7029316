//! Everything `bangerd-root` will ever do, as one enum.
//!
//! The helper takes ids and numbers, computes every name itself, and receives files as descriptors that the
//! owner could open. It is never told a path. The same requests serve the helper that systemd starts as root
//! and the one that runs as an ordinary user inside private namespaces; what the second cannot do it answers
//! with `unavailable`.
//!
//! Each request can be repeated: doing it twice is doing it once, and the answer says whether anything changed.

use crate::ids::{OperationId, VmId};
use crate::size::ByteSize;
use crate::wire::requests;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Socket in a VM's folder that speaks Firecracker's host side of vsock.
pub const VSOCK_SOCKET: &str = "v.sock";
/// Socket in a VM's folder between QEMU and its vsock backend.
pub const VHOST_SOCKET: &str = "vhost.sock";
/// Socket in a VM's folder on which Firecracker takes its orders.
pub const API_SOCKET: &str = "api.sock";
/// What the guest wrote to its serial console.
pub const CONSOLE_LOG: &str = "console.log";
/// What Firecracker logs, from its start on; apart from [`VMM_LOG`], because it writes over what others write.
pub const FIRECRACKER_LOG: &str = "firecracker.log";
/// What Firecracker counted of its devices, a line a minute; made anew at each start.
pub const FIRECRACKER_METRICS: &str = "metrics.log";
/// What the VMM and its vsock backend had to say themselves.
pub const VMM_LOG: &str = "vmm.log";
/// What QEMU tells of its machine, as lines of its own protocol (QMP); made anew at each start.
pub const VMM_EVENTS: &str = "vmm-events.out";
/// All that QEMU is ever told in that protocol: that it may tell.
pub const VMM_GREETING: &str = "vmm-events.in";
/// The guest's address on its vsock, the same for every VM: each has a backend of its own.
pub const GUEST_CID: u32 = 3;
/// Where the daemon answers guests' questions about names, at the bridge's address over UDP and TCP. It is no
/// privileged port; guests ask port 53.
pub const DNS_PORT: u16 = 42069;
/// The link of the guests' network through which `pasta` carries what leaves it, in local mode.
pub const EGRESS_LINK: &str = "egress0";

requests! {
    /// A request to the helper.
    RootCall {
        /// First on every connection.
        "version" => Version(Version) -> VersionReply,
        /// Makes the bridge with its address and the firewall around it, unless they are there as they shall be.
        "network.ensure" => NetworkEnsure(NetworkEnsure) -> Changed,
        /// Names chains of the host's other firewalls that let no guest out; changes nothing.
        "firewall.foreign" => FirewallForeign(FirewallForeign) -> Vec<ForeignChain>,
        /// Opens what guests' questions about names arrive on, at the bridge's address and [`DNS_PORT`], unless it is
        /// open already. The answer carries two descriptors if anything changed: a UDP socket, then one that listens on TCP.
        "dns.listen" => DnsListen(DnsListen) -> Changed,
        /// Makes a VM's tap on the bridge, unless it is there, and lets through it what the guest may send.
        "tap.create" => TapCreate(TapCreate) -> Changed,
        /// Removes a VM's tap with what was let through it, if it is there.
        "tap.delete" => TapDelete(TapDelete) -> Changed,
        /// Makes the device on which a VM's root disk is its image's with the VM's own changes over it, unless it is
        /// there. Two descriptors: the image's file, open for reading, and the file of the changes, open for both.
        "snapshot.create" => SnapshotCreate(SnapshotCreate) -> Changed,
        /// Removes that device, if it is there. Its files stay, and nothing has them open any more.
        "snapshot.delete" => SnapshotDelete(SnapshotDelete) -> Changed,
        /// Starts one of a VM's processes in the VM's folder. Descriptors: the folder, then those that the program names.
        "process.start" => ProcessStart(ProcessStart) -> ProcessIdentity,
        /// Sends a signal to one of a VM's processes, after proving that it is one.
        "process.signal" => ProcessSignal(ProcessSignal) -> Changed,
        /// Sends SIGKILL to every process of a VM and says which ones; the caller waits for their end.
        "process.kill_all" => ProcessKillAll(ProcessKillAll) -> Vec<OwnedProcess>,
        /// Everything the helper holds, found by looking and not by remembering.
        "inventory" => InventoryRequest(InventoryRequest) -> Inventory,
        /// Ends the helper. VMs and namespaces stay.
        "shutdown" => Shutdown(Shutdown) -> Changed,
    }
}

/// Whether a request found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Changed {
    pub changed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Version {
    pub protocol: u32,
    /// On whose behalf the connection's requests are made; logged with each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VersionReply {
    pub protocol: u32,
    pub version: String,
    pub pid: u32,
    /// The settings the helper was started with; a daemon with others replaces it.
    pub settings: Settings,
}

/// What the helper acts on that is not in a request: its own command line in local mode, the install file in
/// system mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Absolute path of `qemu-system-x86_64`, when there is one.
    pub qemu: Option<String>,
    /// Absolute path of `vhost-device-vsock`, when there is one.
    pub vsock_backend: Option<String>,
    /// Absolute path of `firecracker`, when there is one.
    pub firecracker: Option<String>,
    /// Absolute path of `nft`, when there is one.
    pub nft: Option<String>,
    pub bridge: String,
    /// The bridge's own address; guests get others of the same network.
    pub address: Ipv4Addr,
    pub prefix: u8,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkEnsure {
    /// Addresses that no guest reaches though they are public: the host's own, which what carries the guests' traffic
    /// would take for a way to the host itself.
    pub barred: BTreeSet<Ipv4Addr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FirewallForeign {}

/// A chain in the path of guests' packets that drops them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ForeignChain {
    /// As nft calls it: `ip` or `inet`.
    pub family: String,
    pub table: String,
    pub chain: String,
    pub kind: ForeignKind,
}

/// Who has made it, and so what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForeignKind {
    Docker,
    Firewalld,
    Other,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DnsListen {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TapCreate {
    pub vm: VmId,
    /// The guest's only address.
    pub address: Ipv4Addr,
    /// Whether it reaches the world. Asked for again with another value, this changes.
    pub nat: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TapDelete {
    pub vm: VmId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    pub vm: VmId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelete {
    pub vm: VmId,
}

/// Bytes of a file that can hold every block of its base changed: base, its table of exceptions, and some.
///
/// One that is only as large as its base overflows and takes the root file system with it.
#[must_use]
pub const fn changes_size(base: u64) -> u64 {
    let size = base + base / 100 + (16 << 20);
    // A disk is made of whole sectors.
    size.div_ceil(512) * 512
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessStart {
    pub vm: VmId,
    pub program: Program,
}

/// The programs a VM consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Program {
    /// `vhost-device-vsock`, one for each QEMU. Started first; listens on [`VHOST_SOCKET`] and [`VSOCK_SOCKET`].
    VsockBackend,
    /// QEMU. Descriptors after the folder: kernel, initrd, then one for each disk that is [`DiskSource::Descriptor`].
    Qemu(QemuSpec),
    /// Firecracker, which has no machine yet: it listens on [`API_SOCKET`] and finds the descriptors, the same as
    /// QEMU's, at the numbers that [`FirecrackerFiles`] says.
    Firecracker(FirecrackerSpec),
}

impl Program {
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::VsockBackend => Role::VsockBackend,
            Self::Qemu(_) | Self::Firecracker(_) => Role::Vmm,
        }
    }
}

/// What a process is to its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Vmm,
    VsockBackend,
}

/// A machine as QEMU shall make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QemuSpec {
    pub acceleration: Acceleration,
    pub vcpu: u32,
    pub memory: ByteSize,
    pub kernel_command_line: String,
    /// In the order the guest sees them.
    pub disks: Vec<Disk>,
    /// The guest's MAC on the VM's tap.
    pub mac: MacAddress,
}

/// What a Firecracker is started with; the machine itself is described to it over its API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FirecrackerSpec {
    /// By which the host is kept from what the process could take beyond them.
    pub vcpu: u32,
    pub memory: ByteSize,
    /// In the order the guest sees them.
    pub disks: Vec<Disk>,
}

/// Under which names Firecracker opens what it was given: the same for every VM, and whatever confines it.
#[derive(Clone, Copy, Debug)]
pub struct FirecrackerFiles;

impl FirecrackerFiles {
    pub const KERNEL: u32 = 3;
    pub const INITRD: u32 = 4;
    pub const FIRST_DISK: u32 = 5;
    /// The folder in which what was given is found by its number.
    pub const SHARED: &str = "/shared";
    /// The VM's own device.
    pub const SNAPSHOT: &str = "/root.disk";
    /// The VM's folder.
    pub const FOLDER: &str = "/vm";

    /// The name of a descriptor with this number; the same for every VM.
    #[must_use]
    pub fn descriptor(number: u32) -> String {
        format!("{}/{number}", Self::SHARED)
    }

    /// The name of a file of the VM's folder.
    #[must_use]
    pub fn in_folder(name: &str) -> String {
        format!("{}/{name}", Self::FOLDER)
    }

    /// The name of each disk, in their order.
    #[must_use]
    pub fn of_disks(disks: &[Disk]) -> Vec<String> {
        let mut next = Self::FIRST_DISK;
        let name = |disk: &Disk| match disk.source {
            DiskSource::Folder => Self::in_folder(disk.role.file_name()),
            DiskSource::Descriptor => {
                next += 1;
                Self::descriptor(next - 1)
            }
            DiskSource::Snapshot => Self::SNAPSHOT.to_owned(),
        };
        disks.iter().map(name).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Acceleration {
    Kvm,
    /// Emulation in software.
    Tcg,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub role: DiskRole,
    pub source: DiskSource,
}

impl Disk {
    #[must_use]
    pub fn read_only(&self) -> bool {
        match self.role {
            DiskRole::Root | DiskRole::Cow | DiskRole::Work => false,
            DiskRole::Base | DiskRole::Modules | DiskRole::Config => true,
        }
    }
}

/// What a disk is to the guest. The guest is told the order on its kernel command line as `banger.disks=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiskRole {
    /// A root file system of the VM's own.
    Root,
    /// An image's root file system, shared and never written; goes with a `Cow`.
    Base,
    /// What the guest changed of its `Base`.
    Cow,
    /// Becomes `/root`.
    Work,
    /// Becomes `/lib/modules`.
    Modules,
    /// The config drive, see [`crate::guest_api::config_drive`].
    Config,
}

impl DiskRole {
    /// The word on the kernel command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Base => "base",
            Self::Cow => "cow",
            Self::Work => "work",
            Self::Modules => "modules",
            Self::Config => "config",
        }
    }

    /// The role a word on the kernel command line stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Root, Self::Base, Self::Cow, Self::Work, Self::Modules, Self::Config]
            .into_iter()
            .find(|role| role.as_str() == word)
    }

    /// The file's name in the VM's folder, the same for every VM.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Root => "root.img",
            Self::Base => "base.img",
            Self::Cow => "cow.img",
            Self::Work => "work.img",
            Self::Modules => "modules.img",
            Self::Config => "config.img",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiskSource {
    /// The role's file in the VM's folder.
    Folder,
    /// The next descriptor of the request, open for reading: an image's or a kernel's, shared.
    Descriptor,
    /// The VM's own device, which `snapshot.create` has made.
    Snapshot,
}

/// Six bytes of Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address of the guest that has this IPv4 address: locally administered (`02`), then `fc`, then the
    /// four bytes, so that either can be computed from the other.
    #[must_use]
    pub const fn of_guest(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0xfc, a, b, c, d])
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A process that cannot be mistaken for another one that got its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks between the host's boot and the process's start.
    pub start_time: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessSignal {
    pub vm: VmId,
    pub process: ProcessIdentity,
    pub signal: ProcessSignalKind,
}

/// The signals a VM's processes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessSignalKind {
    Stop,
    Continue,
    Terminate,
    Kill,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessKillAll {
    pub vm: VmId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InventoryRequest {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub taps: Vec<VmId>,
    /// Those of them whose guests reach the world.
    pub nat: Vec<VmId>,
    /// Whether there is an [`EGRESS_LINK`].
    pub egress: bool,
    pub processes: Vec<OwnedProcess>,
    /// VMs that have a device of their own for a root disk, or the beginning of one.
    #[serde(default)]
    pub snapshots: Vec<VmId>,
    /// Loop devices of ours.
    #[serde(default)]
    pub loops: Vec<OwnedLoop>,
}

/// A loop device that the helper has set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnedLoop {
    /// `/dev/loop<number>`.
    pub number: u32,
    /// Whose changes it holds; absent where it is an image's file, which VMs share.
    pub vm: Option<VmId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnedProcess {
    pub vm: VmId,
    pub role: Role,
    pub process: ProcessIdentity,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Shutdown {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_changes_is_larger_than_what_it_may_have_to_hold() {
        for base in [1 << 30, 40 << 30, 4097] {
            let size = changes_size(base);
            assert!(size >= base + base / 100 + (16 << 20) && size.is_multiple_of(512));
        }
    }
}
