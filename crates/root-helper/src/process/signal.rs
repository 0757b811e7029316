//! Signals to a VM's processes, through a handle that cannot come to mean another process.

use crate::inventory::{self, KnownBy, LookError};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{OwnedProcess, ProcessIdentity, ProcessSignalKind};
use banger_protocol::wire::{ErrorKind, RpcError};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SignalError {
    #[error("process {pid} was not signalled: it is not one of VM {vm}")]
    NotOurs { pid: u32, vm: VmId },
    #[error("process {pid} of VM {vm} was not signalled")]
    Refused {
        pid: u32,
        vm: VmId,
        #[source]
        source: io::Error,
    },
    #[error("the processes of VM {vm} were not found")]
    Look {
        vm: VmId,
        #[source]
        source: LookError,
    },
}

impl SignalError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::NotOurs { .. } => RpcError::from_error(ErrorKind::Refused, self),
            Self::Refused { .. } | Self::Look { .. } => {
                RpcError::from_error(ErrorKind::OperationFailed, self)
            }
        }
    }
}

/// Signals one process; says whether it was still there.
pub(crate) fn signal(
    vm: &VmId,
    process: ProcessIdentity,
    kind: ProcessSignalKind,
    known_by: KnownBy,
) -> Result<bool, SignalError> {
    let ProcessIdentity { pid, start_time } = process;
    let refused = |source| SignalError::Refused { pid, vm: vm.clone(), source };
    let gone = |errno| errno == rustix::io::Errno::SRCH;
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    // The handle first: whatever is then read about this number is read about the process the handle is for, or
    // that process has ended and the signal reaches nobody.
    let handle = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(errno) if gone(errno) || errno == rustix::io::Errno::INVAL => return Ok(false),
        Err(errno) => return Err(refused(errno.into())),
    };
    if crate::proc::start_time(pid) != Some(start_time) {
        return Ok(false);
    }
    let found =
        inventory::process(pid, known_by).map_err(|source| SignalError::Look { vm: vm.clone(), source })?;
    if !found.is_some_and(|found| found.vm == *vm && found.process == process) {
        return Err(SignalError::NotOurs { pid, vm: vm.clone() });
    }
    let signal = match kind {
        ProcessSignalKind::Stop => Signal::STOP,
        ProcessSignalKind::Continue => Signal::CONT,
        // The first process of a pid namespace is spared what a signal does by itself, pid_namespaces(7).
        ProcessSignalKind::Terminate if crate::proc::leaves_to_the_kernel(pid, Signal::TERM) => Signal::KILL,
        ProcessSignalKind::Terminate => Signal::TERM,
        ProcessSignalKind::Kill => Signal::KILL,
    };
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(errno) if gone(errno) => Ok(false),
        Err(errno) => Err(refused(errno.into())),
    }
}

/// Kills every process of a VM and says which.
pub(crate) fn kill_all(vm: &VmId, known_by: KnownBy) -> Result<Vec<OwnedProcess>, SignalError> {
    let look = |source| SignalError::Look { vm: vm.clone(), source };
    let mut killed = Vec::new();
    for found in inventory::processes_of(vm, known_by).map_err(look)? {
        match signal(vm, found.process, ProcessSignalKind::Kill, known_by) {
            Ok(true) => killed.push(found),
            // It ended by itself meanwhile.
            Ok(false) | Err(SignalError::NotOurs { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(killed)
}
