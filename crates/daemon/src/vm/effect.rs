//! Everything that bringing a VM up or down does to the host, as values.
//!
//! [`perform`] is the only place where effects happen, so they can be listed, counted, and failed one by one:
//! `BANGER_FAULT=fail:<n>` makes the n-th effect of a daemon fail instead of happening, `after:<n>` makes it happen and
//! then report failure, and `abort:<n>` ends the daemon right after it, as a crash would. `abort-before:<n>` ends it just
//! before.

use super::disks::CHANGES;
use super::driver::firecracker::{self, FirecrackerError};
use super::egress::EgressError;
use super::folder;
use super::work_disk::{self, WorkDiskError};
use crate::Services;
use crate::client::helper::{Helper, HelperError};
use crate::clone::{CloneError, clone_file};
use crate::network::{dns, host_addresses};
use crate::store::{Store, StoreError};
use banger_firecracker::Machine;
use banger_protocol::ids::VmId;
use banger_protocol::names::VmName;
use banger_protocol::root_api::{
    DiskRole, NetworkEnsure, ProcessIdentity, ProcessKillAll, ProcessSignal, ProcessSignalKind, ProcessStart,
    Program, SnapshotCreate, SnapshotDelete, TapCreate, TapDelete, changes_size,
};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

/// One act on the host for one VM. Performing it twice is performing it once.
#[derive(Debug)]
pub(crate) enum Effect {
    MakeFolder,
    /// Writes the config drive anew.
    WriteConfigDrive(Vec<u8>),
    /// Gives the VM a file of its own with the content of another, unless it has one.
    CloneDisk {
        from: PathBuf,
        name: &'static str,
    },
    /// Gives the VM a work disk of this size with what is in the image's seed, or makes the one it has as large.
    MakeWorkDisk {
        seed: PathBuf,
        /// Where disks of other sizes are kept for the next VM of the image.
        prepared: PathBuf,
        size: ByteSize,
    },
    /// Gives the VM an empty file for what it changes of `base`, unless it has one.
    MakeCow {
        base: PathBuf,
        name: &'static str,
    },
    /// Has the host join `base` and what the VM changed of it to a block device.
    CreateDevice {
        base: PathBuf,
    },
    /// Bridge and firewall.
    EnsureNetwork,
    /// Makes sure that questions about guests' names are answered on the bridge, which is there.
    ServeDns,
    /// A tap for the guest with this address, which reaches the world or does not.
    CreateTap {
        address: Ipv4Addr,
        nat: bool,
    },
    /// Makes a way out for guests with NAT, unless there is one.
    OpenEgress,
    StartProcess {
        program: Program,
        descriptors: Vec<OwnedFd>,
    },
    /// Tells a Firecracker what machine it is, and starts that machine.
    BootMachine {
        vmm: ProcessIdentity,
        machine: Machine,
    },
    /// Sends a signal to one of the VM's processes, if it still lives.
    Signal {
        process: ProcessIdentity,
        signal: ProcessSignalKind,
    },
    KillProcesses,
    DeleteDevice,
    DeleteTap,
    /// Removes the way out, when no guest has NAT any more.
    CloseEgress,
    /// Removes what is of use only while the VM runs.
    RemoveSockets,
    RemoveFolder,
}

impl Effect {
    /// What did not happen, when it did not.
    fn label(&self) -> &'static str {
        match self {
            Self::MakeFolder => "create the VM's directory",
            Self::WriteConfigDrive(_) => "write the config drive",
            Self::MakeWorkDisk { .. } => "create the work disk",
            Self::CloneDisk { .. } | Self::MakeCow { .. } | Self::CreateDevice { .. } => {
                "create the root disk"
            }
            Self::EnsureNetwork => "set up the network",
            Self::ServeDns => "start the DNS server",
            Self::CreateTap { .. } => "create the tap device",
            Self::OpenEgress => "set up NAT",
            Self::CloseEgress => "remove NAT",
            Self::StartProcess { program: Program::VsockBackend, .. } => "start the vsock backend",
            Self::StartProcess { program: Program::Qemu(_) | Program::Firecracker(_), .. } => "start the VMM",
            Self::BootMachine { .. } => "boot the machine",
            Self::Signal { signal: ProcessSignalKind::Stop, .. } => "pause the VM",
            Self::Signal { signal: ProcessSignalKind::Continue, .. } => "resume the VM",
            Self::Signal { signal: ProcessSignalKind::Terminate | ProcessSignalKind::Kill, .. } => {
                "tell the VMM to exit"
            }
            Self::KillProcesses => "end the VM's processes",
            Self::DeleteDevice => "remove the root disk's device",
            Self::DeleteTap => "remove the tap device",
            Self::RemoveSockets => "remove the VM's sockets",
            Self::RemoveFolder => "remove the VM's directory",
        }
    }
}

/// An effect that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub(crate) struct EffectError {
    pub step: &'static str,
    pub hint: Option<String>,
    source: Cause,
}

impl EffectError {
    /// As the answer to whoever wanted the VM `participle`.
    pub(super) fn answer(&self, participle: &str, name: &VmName) -> RpcError {
        let error = RpcError::from_error(ErrorKind::OperationFailed, self);
        let causes = std::iter::once(error.message).chain(error.causes).collect();
        let message = format!("VM `{name}` was not {participle}");
        RpcError { causes, hint: self.hint.clone(), ..RpcError::new(error.kind, message) }
    }
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error(transparent)]
    Dns(dns::ServeError),
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error(transparent)]
    Clone(CloneError),
    #[error(transparent)]
    WorkDisk(WorkDiskError),
    #[error("{path}")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Firecracker(FirecrackerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Planted(#[from] Planted),
    #[error("the task panicked")]
    BrokeOff(#[source] tokio::task::JoinError),
    #[error("waiting for a process to end failed")]
    Wait(#[source] io::Error),
    #[error("process {0} did not exit after SIGKILL")]
    Unkillable(u32),
}

/// An effect that a test wanted to go wrong.
#[derive(Debug, thiserror::Error)]
#[error("made to fail by BANGER_FAULT")]
pub(crate) struct Planted;

/// Which effect shall go wrong, and how. For tests of what is left behind.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Option<(u64, Fault)>,
    count: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fail,
    FailAfter,
    Abort,
    AbortBefore,
}

impl Faults {
    /// Reads `fail:<n>`, `after:<n>`, `abort:<n>` or `abort-before:<n>`, counted from 0; anything else plans nothing.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let plan = text.and_then(|text| text.split_once(':')).and_then(|(kind, index)| {
            let fault = match kind {
                "fail" => Fault::Fail,
                "after" => Fault::FailAfter,
                "abort" => Fault::Abort,
                "abort-before" => Fault::AbortBefore,
                _ => return None,
            };
            Some((index.parse().ok()?, fault))
        });
        Self { plan, count: AtomicU64::new(0) }
    }

    /// Performs an effect that is none of [`Effect`]'s, such as one of publishing an image; counted with all others.
    pub(crate) fn around<T, E: From<Planted>>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let fault = self.next();
        match fault {
            Some(Fault::Fail) => return Err(Planted.into()),
            Some(Fault::AbortBefore) => std::process::abort(),
            Some(Fault::FailAfter | Fault::Abort) | None => {}
        }
        let outcome = act()?;
        match fault {
            Some(Fault::FailAfter) => Err(Planted.into()),
            Some(Fault::Abort) => std::process::abort(),
            Some(Fault::Fail | Fault::AbortBefore) | None => Ok(outcome),
        }
    }

    fn next(&self) -> Option<Fault> {
        let index = self.count.fetch_add(1, Ordering::SeqCst);
        self.plan.and_then(|(planned, fault)| (planned == index).then_some(fault))
    }
}

/// Makes one effect happen. Never cancelled half-way: dropping the future leaves it to finish by itself, so callers
/// await it to its end and look at their cancellation between effects.
///
/// Returns the process that a [`Effect::StartProcess`] started.
pub(crate) async fn perform(
    services: &Arc<Services>,
    vm: &VmId,
    effect: Effect,
) -> Result<Option<ProcessIdentity>, EffectError> {
    let step = effect.label();
    let failed = |source: Cause| {
        let hint = match &source {
            Cause::Helper(error) | Cause::Dns(dns::ServeError::Helper(error)) => error.hint(),
            Cause::Egress(error) => error.hint(),
            Cause::Clone(error) => error.hint(),
            Cause::WorkDisk(error) => error.hint(),
            Cause::File { source, .. } => crate::clone::hint_for(source),
            Cause::Firecracker(error) => error.hint(services.host.kvm),
            Cause::Store(error) => error.hint(),
            Cause::Dns(_)
            | Cause::Planted(_)
            | Cause::BrokeOff(_)
            | Cause::Wait(_)
            | Cause::Unkillable(_) => None,
        };
        EffectError { step, hint, source }
    };
    let fault = services.faults.next();
    match fault {
        Some(Fault::Fail) => return Err(failed(Cause::Planted(Planted))),
        Some(Fault::AbortBefore) => std::process::abort(),
        Some(Fault::FailAfter | Fault::Abort) | None => {}
    }
    let begun = Instant::now();
    let kills = matches!(effect, Effect::KillProcesses);
    let folder = services.state.vm(vm);
    let outcome = match effect {
        // A VMM that does not answer keeps no other VM waiting: it takes no turn.
        Effect::BootMachine { vmm, machine } => {
            tokio::spawn(async move { firecracker::boot(&folder, vmm, &machine).await })
                .await
                .map_err(|e| failed(Cause::BrokeOff(e)))?
                .map_err(|e| failed(Cause::Firecracker(e)))?;
            Outcome::default()
        }
        effect => {
            let (services, id) = (services.clone(), vm.clone());
            let helper = services.helper.on_behalf_of(crate::operation::current());
            let _turn = TURNS.acquire().await.expect("nobody closes it");
            tokio::task::spawn_blocking(move || act(&services, &helper, &id, effect))
                .await
                .map_err(|e| failed(Cause::BrokeOff(e)))?
                .map_err(failed)?
        }
    };
    if kills {
        for process in outcome.killed {
            match tokio::time::timeout(KILL_DEADLINE, crate::process::ended(process)).await {
                Ok(waited) => waited.map_err(|e| failed(Cause::Wait(e)))?,
                Err(_) => return Err(failed(Cause::Unkillable(process.pid))),
            }
        }
    }
    // Read by whoever wants to know where the time of a start goes, the benchmark among them.
    tracing::debug!(%vm, step, took_us = begun.elapsed().as_micros(), "done");
    match fault {
        Some(Fault::FailAfter) => Err(failed(Cause::Planted(Planted))),
        Some(Fault::Abort) => std::process::abort(),
        Some(Fault::Fail | Fault::AbortBefore) | None => Ok(outcome.started),
    }
}

/// Writes down what a VM is made of: an effect of nothing but the state database.
pub(super) fn write_down(
    services: &Services,
    act: impl FnOnce(&Store) -> Result<(), StoreError>,
) -> Result<(), EffectError> {
    let written = services.faults.around(|| act(&services.store).map_err(Cause::from));
    written.map_err(|source| {
        let hint = if let Cause::Store(error) = &source { error.hint() } else { None };
        EffectError { step: "write down the VM's settings", hint, source }
    })
}

/// Effects on the host at one time. More of them only wait for each other, in the kernel and each with a thread of ours.
static TURNS: Semaphore = Semaphore::const_new(8);

/// A killed VMM gives back all its memory before it is gone. Where KVM is emulated itself and busy, 20 s were too few.
const KILL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Default)]
struct Outcome {
    started: Option<ProcessIdentity>,
    /// Whose end is to be waited for.
    killed: Vec<ProcessIdentity>,
}

fn act(services: &Services, helper: &Helper, vm: &VmId, effect: Effect) -> Result<Outcome, Cause> {
    let folder = services.state.vm(vm);
    let file = |path: &std::path::Path| {
        let path = path.display().to_string();
        move |source| Cause::File { path, source }
    };
    match effect {
        Effect::MakeFolder => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(file(&folder))?;
        }
        Effect::WriteConfigDrive(bytes) => {
            let name = DiskRole::Config.file_name();
            folder::write_anew(&folder, name, &bytes).map_err(file(&folder.join(name)))?;
        }
        Effect::CloneDisk { from, name } => {
            let to = folder.join(name);
            if !to.exists() {
                clone_file(&from, &to).map_err(Cause::Clone)?;
            }
        }
        Effect::MakeWorkDisk { seed, prepared, size } => {
            work_disk::make(&folder, &seed, &prepared, size).map_err(Cause::WorkDisk)?;
        }
        Effect::MakeCow { base, name } => {
            let path = folder.join(name);
            let size = std::fs::metadata(&base).map_err(file(&base))?.len();
            if !path.exists() {
                make_hole(&path, changes_size(size)).map_err(file(&path))?;
            }
        }
        Effect::CreateDevice { base } => {
            let image = File::open(&base).map_err(file(&base))?;
            let path = folder.join(CHANGES);
            let changes = folder::open_to_write(&folder, CHANGES).map_err(file(&path))?;
            helper.call(&SnapshotCreate { vm: vm.clone() }, &[image.into(), changes.into()])?;
        }
        Effect::DeleteDevice => {
            helper.call_if_anything_lives(&SnapshotDelete { vm: vm.clone() })?;
        }
        Effect::EnsureNetwork => {
            helper.call(&NetworkEnsure { barred: host_addresses() }, &[])?;
        }
        Effect::ServeDns => services.dns.serve(helper).map_err(Cause::Dns)?,
        Effect::CreateTap { address, nat } => {
            helper.call(&TapCreate { vm: vm.clone(), address, nat }, &[])?;
        }
        Effect::OpenEgress => services.egress.open(&services.network_tools, helper)?,
        Effect::CloseEgress => services.egress.close_unless_needed(helper)?,
        Effect::StartProcess { program, descriptors } => {
            let started = helper.call(&ProcessStart { vm: vm.clone(), program }, &descriptors)?;
            return Ok(Outcome { started: Some(started), ..Outcome::default() });
        }
        Effect::BootMachine { .. } => unreachable!("it is waited for and not acted"),
        Effect::Signal { process, signal } => {
            helper.call_if_anything_lives(&ProcessSignal { vm: vm.clone(), process, signal })?;
        }
        Effect::KillProcesses => {
            let found =
                helper.call_if_anything_lives(&ProcessKillAll { vm: vm.clone() })?.unwrap_or_default();
            let mut killed: Vec<ProcessIdentity> = found.into_iter().map(|found| found.process).collect();
            // One that is ending by itself is no longer found by its environment, and still holds the disks; neither is
            // one that a guest has taken over and that has written something else there.
            if let Some(running) =
                services.store.vm(vm).ok().flatten().as_ref().and_then(|vm| vm.state.running())
            {
                for process in running.processes() {
                    if !killed.contains(&process) {
                        crate::process::kill(process);
                        killed.push(process);
                    }
                }
            }
            return Ok(Outcome { killed, ..Outcome::default() });
        }
        Effect::DeleteTap => {
            helper.call_if_anything_lives(&TapDelete { vm: vm.clone() })?;
        }
        Effect::RemoveSockets => remove_sockets(&folder)?,
        Effect::RemoveFolder => match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file(&folder)(e)),
            _ => {}
        },
    }
    Ok(Outcome::default())
}

/// A file of nothing but its length, which appears with that length.
fn make_hole(path: &Path, size: u64) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    File::options().create_new(true).write(true).mode(0o600).open(&partial)?.set_len(size)?;
    std::fs::rename(&partial, path)
}

fn remove_sockets(folder: &std::path::Path) -> Result<(), Cause> {
    use std::os::unix::fs::FileTypeExt;
    let failed = |source| Cause::File { path: folder.display().to_string(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_socket() {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_fault_happens_once_at_its_index() {
        let faults = Faults::parse(Some("after:2"));
        let seen: Vec<_> = (0..5).map(|_| faults.next()).collect();
        assert_eq!(seen, [None, None, Some(Fault::FailAfter), None, None]);
        assert!(Faults::parse(Some("explode:1")).plan.is_none());
        assert!(Faults::parse(None).plan.is_none());
    }
}
