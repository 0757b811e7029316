//! Everything the helper holds, found by looking.
//!
//! A process is a VM's when it lives in the helper's own network namespace, which nothing else enters, and its
//! environment, which the helper gave it, says of which VM.

use crate::firewall::Guest;
use crate::{link, proc, settings};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{EGRESS_LINK, Inventory, OwnedProcess, ProcessIdentity};
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
}

impl LookError {
    pub(crate) fn answer(&self) -> RpcError {
        RpcError::from_error(ErrorKind::OperationFailed, self)
    }
}

pub(crate) fn inventory() -> Result<Inventory, LookError> {
    let links = link::Netlink::open().and_then(|mut netlink| netlink.links()).map_err(LookError::Links)?;
    let taps = || links.iter().filter(|link| link.kind == link::Kind::Tap);
    let with_nat = taps().filter(|link| Guest::of(link).is_some_and(|guest| guest.nat));
    Ok(Inventory {
        taps: taps().filter_map(|link| settings::vm_of_tap(&link.name)).collect(),
        nat: with_nat.filter_map(|link| settings::vm_of_tap(&link.name)).collect(),
        egress: links.iter().any(|link| link.name == EGRESS_LINK),
        processes: processes()?,
    })
}

/// Every living process of every VM.
pub(crate) fn processes() -> Result<Vec<OwnedProcess>, LookError> {
    let own = network_namespace("self").map_err(LookError::Processes)?;
    let entries = std::fs::read_dir("/proc").map_err(LookError::Processes)?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter_map(|pid| look_at(pid, own)).collect())
}

/// Every living process of one VM.
pub(crate) fn processes_of(vm: &VmId) -> Result<Vec<OwnedProcess>, LookError> {
    Ok(processes()?.into_iter().filter(|process| process.vm == *vm).collect())
}

/// The process with this number, if it is a VM's.
pub(crate) fn process(pid: u32) -> Result<Option<OwnedProcess>, LookError> {
    let own = network_namespace("self").map_err(LookError::Processes)?;
    Ok(look_at(pid, own))
}

/// What a process is to us, looked at again while it is in the middle of an exec.
///
/// There, for a moment, it has no environment (`create_elf_tables` shows the new one) and nobody has rights over
/// it (`begin_new_exec`). A program that is a script passes there twice.
fn look_at(pid: u32, own: (u64, u64)) -> Option<OwnedProcess> {
    let deadline = Instant::now() + LONGEST_EXEC;
    loop {
        if pid == std::process::id() {
            return None;
        }
        let start_time = proc::start_time(pid)?;
        let environment = proc::environment(pid)?;
        let namespace = network_namespace(&pid.to_string());
        match (proc::parse_environment(&environment), namespace) {
            (Some((vm, role)), Ok(namespace)) => {
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
            (Some(_), Err(_)) => {}
            (None, _) => return None,
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
