//! A place of its own for each of a VM's processes among those that systemd counts, outside of the helper's unit.
//!
//! It says how much memory, processor time and how many tasks there are for the process, and it is why a VM outlives
//! the helper's unit. A process is put there before it becomes its program, so nothing of it is ever counted as the
//! helper's. The scope's name says whose process it is and cannot be written by it or by the owner: in system mode that
//! is how processes are found again. systemd forgets a scope with its last process.
//!
//! systemd is asked through its own `busctl`, an exec of a few milliseconds at each start of a VM, because a D-Bus
//! library would double what is linked into the program that runs as root.

use crate::deadline;
use crate::proc::role_word;
use crate::tool::Tool;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::Role;
use std::io;
use std::path::Path;
use std::time::Duration;

const BUSCTL: Tool<'_> = Tool { path: "/usr/bin/busctl", limit: Duration::from_secs(30) };
/// systemd's own group for all of them, and where the kernel shows it.
const SLICE: &str = "banger.slice";
const SLICE_FOLDER: &str = "/sys/fs/cgroup/banger.slice";
/// Seconds.
const ANSWER_LIMIT: &str = "--timeout=20";

const MIB: u64 = 1 << 20;

/// What a process may take of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: u64,
    /// Microseconds of processor time in a second.
    pub(crate) processor: u64,
    pub(crate) tasks: u64,
}

impl Limits {
    /// For a VMM: the guest's memory and processors, and some for what it does itself.
    pub(crate) fn of_machine(vcpu: u32, memory: u64) -> Self {
        let vcpu = u64::from(vcpu);
        Self {
            memory: memory.saturating_add(memory / 16).saturating_add(192 * MIB),
            processor: (vcpu + 1) * 1_000_000,
            // QEMU has up to 64 threads that wait for disks.
            tasks: vcpu + 96,
        }
    }

    /// For QEMU's vsock backend. Guest memory that it is the first to touch counts as its own.
    pub(crate) const VSOCK_BACKEND: Self = Self { memory: 512 * MIB, processor: 1_000_000, tasks: 32 };
}

/// Why a process has no place of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error("{} did not ask systemd", BUSCTL.path)]
    Run(#[source] io::Error),
    #[error("systemd made no scope {name} of it: {said}")]
    NotMade { name: String, said: String },
}

/// Has systemd put a process into a scope of its own, and waits until it is there.
pub(crate) fn enclose(vm: &VmId, role: Role, pid: u32, limits: Limits) -> Result<(), ScopeError> {
    let name = name(vm, role);
    let said = BUSCTL.complaint(&arguments(&name, pid, limits)).map_err(ScopeError::Run)?;
    let place = format!("0::/{SLICE}/{name}");
    let is_there = || match std::fs::read_to_string(format!("/proc/{pid}/cgroup"))? {
        found if found.lines().any(|line| line == place) => Ok(()),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    };
    // Its answer is that it has begun.
    let patience = |error: &io::Error| said.is_empty() && error.kind() == io::ErrorKind::WouldBlock;
    deadline::until(is_there, patience).map_err(|error| {
        let said = if said.is_empty() { error.to_string() } else { said };
        ScopeError::NotMade { name, said }
    })
}

/// Every process in a scope of ours, with its VM and role.
pub(crate) fn processes() -> io::Result<Vec<(VmId, Role, u32)>> {
    let scopes = match std::fs::read_dir(SLICE_FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        scopes => scopes?,
    };
    let mut found = Vec::new();
    for scope in scopes {
        let scope = scope?;
        let Some((vm, role)) = scope.file_name().to_str().and_then(parse_name) else { continue };
        // It may be gone by now, and its processes with it.
        let pids = read_if_there(&scope.path().join("cgroup.procs"))?;
        found.extend(pids.lines().filter_map(|pid| pid.parse().ok()).map(|pid| (vm.clone(), role, pid)));
    }
    Ok(found)
}

/// The VM and the role that a process is in the scope of.
pub(crate) fn of(pid: u32) -> io::Result<Option<(VmId, Role)>> {
    Ok(read_if_there(Path::new(&format!("/proc/{pid}/cgroup")))?.lines().find_map(parse_place))
}

/// A line of a `/proc/<pid>/cgroup`, cgroups(7). The whole path counts: a user may have a tree of their own below, with
/// any names in it.
fn parse_place(line: &str) -> Option<(VmId, Role)> {
    parse_name(line.strip_prefix("0::/")?.strip_prefix(SLICE)?.strip_prefix('/')?)
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH)) => {
            Ok(String::new())
        }
        outcome => outcome,
    }
}

fn name(vm: &VmId, role: Role) -> String {
    format!("banger-{vm}-{}.scope", role_word(role))
}

fn parse_name(name: &str) -> Option<(VmId, Role)> {
    let (vm, word) = name.strip_prefix("banger-")?.strip_suffix(".scope")?.split_once('-')?;
    let role = [Role::Vmm, Role::VsockBackend].into_iter().find(|role| role_word(*role) == word)?;
    Some((vm.parse().ok()?, role))
}

/// `StartTransientUnit` of org.freedesktop.systemd1(5), its properties as systemd.resource-control(5) calls them.
fn arguments(name: &str, pid: u32, limits: Limits) -> Vec<String> {
    let Limits { memory, processor, tasks } = limits;
    let call = [
        "--system",
        "--quiet",
        ANSWER_LIMIT,
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        name,
        "fail",
    ];
    let properties = [
        format!("PIDs au 1 {pid}"),
        format!("Slice s {SLICE}"),
        // Also when its process was killed for want of memory: the name is needed again.
        "CollectMode s inactive-or-failed".to_owned(),
        format!("MemoryMax t {memory}"),
        format!("CPUQuotaPerSecUSec t {processor}"),
        format!("TasksMax t {tasks}"),
    ];
    let count = properties.len().to_string();
    let properties = properties.iter().flat_map(|property| property.split(' '));
    let none = "0";
    let words = call.into_iter().chain([count.as_str()]).chain(properties).chain([none]);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_says_whose_process_it_has() {
        let vm = VmId::random();
        for role in [Role::Vmm, Role::VsockBackend] {
            assert_eq!(parse_name(&name(&vm, role)), Some((vm.clone(), role)));
        }
        for other in [
            "banger-0123456789ab.scope",
            "banger-x-vmm.scope",
            "session-1.scope",
            "banger-0123456789ab-vmm.service",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_scope_elsewhere_is_somebody_elses() {
        let name = "banger-0123456789ab-vmm.scope";
        assert!(parse_place(&format!("0::/banger.slice/{name}")).is_some());
        for place in [
            format!("0::/user.slice/user-1000.slice/user@1000.service/banger.slice/{name}"),
            format!("0::/banger.slice/{name}/below"),
            format!("0::/{name}"),
            format!("1:name=systemd:/banger.slice/{name}"),
        ] {
            assert_eq!(parse_place(&place), None, "{place}");
        }
    }

    #[test]
    fn systemd_is_asked_in_its_own_words() {
        let limits = Limits { memory: 1 << 30, processor: 3_000_000, tasks: 98 };
        let asked = arguments("banger-0123456789ab-vmm.scope", 42, limits).join(" ");
        let expected = "StartTransientUnit ssa(sv)a(sa(sv)) banger-0123456789ab-vmm.scope fail 6 PIDs au 1 42 \
                        Slice s banger.slice CollectMode s inactive-or-failed MemoryMax t 1073741824 \
                        CPUQuotaPerSecUSec t 3000000 TasksMax t 98 0";
        assert!(asked.ends_with(expected), "{asked}");
    }

    #[test]
    fn a_vmm_has_more_than_its_guest_and_not_much_more() {
        let limits = Limits::of_machine(2, 1 << 30);
        assert!(limits.memory > 1 << 30 && limits.memory < 3 << 29);
        assert_eq!(limits.processor, 3_000_000);
        assert_eq!(Limits::of_machine(1, u64::MAX).memory, u64::MAX);
    }
}
