//! Everything the helper holds, found by looking.
//!
//! In local mode a process is a VM's when it lives in the helper's own network namespace, which nothing else enters, and
//! its environment, which the helper gave it, says of which VM. The installed helper shares its network namespace with
//! the whole host, where an environment proves nothing; there a process is a VM's by the scope that it is in
//! ([`crate::scope`]), into which only root puts anybody.

use crate::firewall::Guest;
use crate::{link, loop_device, proc, scope, settings, snapshot};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{EGRESS_LINK, Inventory, OwnedProcess, ProcessIdentity, Role};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// Far above the time that a process spends in the middle of an exec.
const LONGEST_EXEC: Duration = Duration::from_millis(100);

/// Why it is not known what there is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error("the processes were not listed")]
    Processes(#[source] io::Error),
    #[error("the network links were not listed")]
    Links(#[source] io::Error),
    #[error("the disks were not listed")]
    Disks(#[source] io::Error),
}

/// By what a VM's processes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownBy {
    Environment,
    Scope,
}

impl LookError {
    pub(crate) fn answer(&self) -> RpcError {
        RpcError::from_error(ErrorKind::OperationFailed, self)
    }
}

pub(crate) fn inventory(known_by: KnownBy) -> Result<Inventory, LookError> {
    let links = link::Netlink::open().and_then(|mut netlink| netlink.links()).map_err(LookError::Links)?;
    let taps = || links.iter().filter(|link| link.kind == link::Kind::Tap);
    let with_nat = taps().filter(|link| Guest::of(link).is_some_and(|guest| guest.nat));
    Ok(Inventory {
        taps: taps().filter_map(|link| settings::vm_of_tap(&link.name)).collect(),
        nat: with_nat.filter_map(|link| settings::vm_of_tap(&link.name)).collect(),
        egress: links.iter().any(|link| link.name == EGRESS_LINK),
        processes: processes(known_by, |_| true)?,
        snapshots: disks(known_by, snapshot::all)?,
        loops: disks(known_by, loop_device::ours)?,
    })
}

/// Block devices are the host's own, of which a helper in namespaces has none.
fn disks<T>(known_by: KnownBy, look: impl Fn() -> io::Result<Vec<T>>) -> Result<Vec<T>, LookError> {
    match known_by {
        KnownBy::Environment => Ok(Vec::new()),
        KnownBy::Scope => look().map_err(LookError::Disks),
    }
}

/// Every living process of one VM.
pub(crate) fn processes_of(vm: &VmId, known_by: KnownBy) -> Result<Vec<OwnedProcess>, LookError> {
    processes(known_by, |of| of == vm)
}

/// Every living process of the VMs that are `wanted`.
fn processes(known_by: KnownBy, wanted: impl Fn(&VmId) -> bool) -> Result<Vec<OwnedProcess>, LookError> {
    if known_by == KnownBy::Scope {
        let found = scope::processes().map_err(LookError::Processes)?;
        let found = found.into_iter().filter(|(vm, _, _)| wanted(vm));
        return Ok(found.filter_map(|(vm, role, pid)| living(vm, role, pid)).collect());
    }
    let own = network_namespace("self").map_err(LookError::Processes)?;
    let entries = std::fs::read_dir("/proc").map_err(LookError::Processes)?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter_map(|pid| look_at(pid, own, &wanted)).collect())
}

/// The process with this number, if it is a VM's.
pub(crate) fn process(pid: u32, known_by: KnownBy) -> Result<Option<OwnedProcess>, LookError> {
    if known_by == KnownBy::Scope {
        let found = scope::of(pid).map_err(LookError::Processes)?;
        return Ok(found.and_then(|(vm, role)| living(vm, role, pid)));
    }
    let own = network_namespace("self").map_err(LookError::Processes)?;
    Ok(look_at(pid, own, |_| true))
}

fn living(vm: VmId, role: Role, pid: u32) -> Option<OwnedProcess> {
    let start_time = proc::start_time(pid)?;
    Some(OwnedProcess { vm, role, process: ProcessIdentity { pid, start_time } })
}

/// What a process is to us, if it is a VM's that is wanted, looked at again while it is in the middle of an exec.
///
/// There, for a moment, it has no environment (`create_elf_tables` shows the new one) and nobody has rights over
/// it (`begin_new_exec`). A program that is a script passes there twice.
fn look_at(pid: u32, own: (u64, u64), wanted: impl Fn(&VmId) -> bool) -> Option<OwnedProcess> {
    let deadline = Instant::now() + LONGEST_EXEC;
    loop {
        if pid == std::process::id() {
            return None;
        }
        // By this most are known not to be: a VM is started and stopped while a hundred others run.
        let environment = proc::environment(pid)?;
        let may_be = || proc::parse_environment(&environment).is_some_and(|(vm, _)| wanted(&vm));
        if !environment.is_empty() && !may_be() {
            return None;
        }
        let start_time = proc::start_time(pid)?;
        let environment = proc::environment(pid)?;
        let namespace = network_namespace(&pid.to_string());
        match (proc::parse_environment(&environment), namespace) {
            (Some((vm, role)), Ok(namespace)) if wanted(&vm) => {
                // Still the one it was: what was read in between belongs to it.
                let same = namespace == own && proc::start_time(pid) == Some(start_time);
                return same.then_some(OwnedProcess {
                    vm,
                    role,
                    process: ProcessIdentity { pid, start_time },
                });
            }
            (None, Ok(namespace)) if namespace == own && environment.is_empty() => {}
            (None, Err(_)) if environment.is_empty() => {}
            (Some((vm, _)), Err(_)) if wanted(&vm) => {}
            _ => return None,
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::yield_now();
    }
}

/// Device and inode of a process's network namespace, which identify it (namespaces(7)).
fn network_namespace(process: &str) -> io::Result<(u64, u64)> {
    std::fs::metadata(format!("/proc/{process}/ns/net")).map(|found| (found.dev(), found.ino()))
}
