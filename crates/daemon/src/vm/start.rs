//! Starts a VM. This file decides the order of the steps; each of them is an effect or a wait.
//!
//! preflight → folder, vsock backend → config drive → root disk → work disk → network, tap → VMM → agent → usable
//!
//! The state becomes `Starting` before the first effect, and `Running` after the last wait. Whatever goes wrong in
//! between, [`release`] takes it all down again and the state says what it was.

use super::boot::{BootError, Notices, last_words};
use super::disks::{Circumstances, RootDisk};
use super::effect::{Effect, EffectError, perform};
use super::keys::KeyError;
use super::release::{Depth, ReleaseError, release};
use super::shared_files::{SharedFileError, SharedFiles};
use super::state::{Action, Permission, Running, VmState};
use super::vmm::{NoVmm, Vmm};
use super::vsock_backend::{BackendSilent, wait_until_listening};
use super::{config_drive, keys, view, vmm, watch};
use crate::Services;
use crate::operation::{Ended, Handle};
use crate::store::{KernelRecord, StoreError, VmRecord};
use banger_protocol::daemon_api::vm::{StageTiming, VmView};
use banger_protocol::guest_api::Notice;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    Acceleration, Disk, DiskRole, MacAddress, ProcessIdentity, Program, QemuSpec,
};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Why a VM did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no VMM can run it")]
    NoVmm(#[source] NoVmm),
    #[error(transparent)]
    SharedFile(SharedFileError),
    #[error("its keys could not be made")]
    Keys(#[source] KeyError),
    #[error("its folder could not be used")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Effect(#[from] EffectError),
    #[error(transparent)]
    Backend(BackendSilent),
    #[error("it did not come up")]
    Boot(#[source] BootError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("starting was cancelled")]
    Cancelled,
}

/// Starts a VM that is not running, as an operation; a running one is left as it is.
pub(crate) async fn start(
    services: &Arc<Services>,
    id: &VmId,
    early: bool,
    handle: &Handle,
) -> Result<VmView, Ended> {
    let _noted = services.starting.note(id, handle.id());
    let _lock = tokio::select! {
        lock = services.locks.lock(id) => lock,
        () = handle.cancelled() => return Err(Ended::Cancelled),
    };
    let vm = view::must_find(services, id)?;
    match vm.state.permits(Action::Start) {
        Permission::Go => {}
        Permission::AlreadySo => return Ok(view::of(&vm)),
        Permission::Refused => {
            let because = vm.state.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("VM `{}` is {} and cannot be started{because}", vm.name, vm.state.name());
            let verb = if vm.state == VmState::Damaged { "delete" } else { "stop" };
            let hint = format!("`banger vm {verb} {}` takes it down", vm.name);
            return Err(RpcError::new(ErrorKind::Refused, message).with_hint(hint).into());
        }
    }
    let store = |e: StoreError| Ended::from(RpcError::from(e));
    services.store.set_vm_state(id, &VmState::Starting).map_err(store)?;
    let mut clock = Stages::new(handle);
    let outcome = bring_up(services, &vm, early, &mut clock).await.and_then(|running| {
        // A guest that is not on record would be nobody's: it goes down again like any that did not come up.
        services.store.set_vm_state(id, &VmState::Running(running.clone()))?;
        Ok(running)
    });
    if let Err(error) = services.store.set_vm_stages(id, &clock.finish()) {
        tracing::warn!(vm = %id, ?error, "how long its start took was not recorded");
    }
    match outcome {
        Ok(running) => {
            watch::spawn(services, id.clone(), running);
            tracing::info!(vm = %id, name = %vm.name, "running");
            Ok(view::of(&view::must_find(services, id)?))
        }
        Err(error) => {
            let left_behind = release(services, id, Depth::Runtime).await.err();
            let cancelled = matches!(error, StartError::Cancelled);
            let reason = chain(&error);
            let state = if cancelled { VmState::Stopped { reason } } else { VmState::Failed { reason } };
            if let Err(error) = services.store.set_vm_state(id, &state) {
                tracing::error!(vm = %id, ?error, "the end of a start was not recorded");
            }
            if cancelled && left_behind.is_none() {
                return Err(Ended::Cancelled);
            }
            let last_words = last_words(&services.state.vm(id));
            Err(explain(&vm, &error, last_words, left_behind).into())
        }
    }
}

async fn bring_up(
    services: &Arc<Services>,
    vm: &VmRecord,
    early: bool,
    stages: &mut Stages<'_>,
) -> Result<Running, StartError> {
    let id = &vm.id;
    stages.begin("preflight")?;
    let driver = vmm::choose(&services.host, services.config.vmm).map_err(StartError::NoVmm)?;
    let files = SharedFiles::find(services, vm);
    let kernel = services.store.find::<KernelRecord>(vm.kernel.as_str())?;
    let root = RootDisk::choose(Circumstances::look(services, id, kernel.as_ref()));
    let disks = root.disks();
    let shared = files.open(&disks).map_err(StartError::SharedFile)?;
    let public = keys::own_key(&services.ssh_key).map_err(StartError::Keys)?;
    let drive = config_drive::render(vm, services.range, &public).map_err(StartError::Keys)?;

    stages.begin("disks")?;
    perform(services, id, Effect::MakeFolder).await?;
    let folder = services.state.vm(id);
    let descriptor = || File::open(&folder).map(OwnedFd::from).map_err(StartError::Folder);
    let start = |program, descriptors| Effect::StartProcess { program, descriptors };
    // First, so that it comes up while everything else is made.
    let backend = perform(services, id, start(Program::VsockBackend, vec![descriptor()?])).await?;
    let backend = backend.expect("starting a process tells which one it is");
    perform(services, id, Effect::WriteConfigDrive(drive)).await?;
    perform(services, id, root.prepare(&files.rootfs)).await?;
    stages.check()?;
    let (seed, size) = (files.work_seed.clone(), vm.spec.disk_size);
    perform(services, id, Effect::MakeWorkDisk { seed, size }).await?;

    stages.begin("network")?;
    perform(services, id, Effect::EnsureNetwork).await?;
    perform(services, id, Effect::CreateTap).await?;

    stages.begin("vmm")?;
    let mut notices = Notices::listen(&folder).map_err(StartError::Folder)?;
    wait_until_listening(backend).await.map_err(StartError::Backend)?;
    let program = qemu(vm, &driver, disks);
    let descriptors = std::iter::once(descriptor()?).chain(shared).collect();
    let vmm = perform(services, id, start(program, descriptors)).await?;
    let vmm = vmm.expect("starting a process tells which one it is");

    let processes: Vec<ProcessIdentity> = vec![vmm, backend];
    stages.begin("agent")?;
    let boot_id = loop {
        let notice = notices.wait("its agent", &processes, driver.acceleration());
        if let Notice::Agent { boot_id, .. } = stages.unless_cancelled(notice).await? {
            break boot_id;
        }
    };
    if !early {
        stages.begin("usable")?;
        loop {
            let notice = notices.wait("its own start-up", &processes, driver.acceleration());
            if let Notice::Usable { .. } = stages.unless_cancelled(notice).await? {
                break;
            }
        }
    }
    Ok(Running {
        vmm,
        vsock_backend: Some(backend),
        driver: driver.name().to_owned(),
        acceleration: driver.acceleration(),
        boot_id,
        since: crate::store::now(),
    })
}

fn qemu(vm: &VmRecord, driver: &Vmm, disks: Vec<Disk>) -> Program {
    Program::Qemu(QemuSpec {
        acceleration: driver.acceleration(),
        vcpu: vm.spec.vcpu,
        memory: vm.spec.memory,
        kernel_command_line: command_line(driver.acceleration(), disks.iter().map(|disk| disk.role)),
        disks,
        mac: MacAddress::of_guest(vm.address),
    })
}

/// A quiet console (each line costs an exit), a VMM that ends with its guest, `eth0` for the only interface. The
/// self-tests of the kernel's ciphers and its protections against the processor it does not have are left out, and
/// an image's cloud-init has nothing to ask anybody.
fn command_line(acceleration: Acceleration, disks: impl Iterator<Item = DiskRole>) -> String {
    let disks: Vec<&str> = disks.map(DiskRole::as_str).collect();
    let emulated = match acceleration {
        Acceleration::Kvm => "",
        Acceleration::Tcg => " mitigations=off",
    };
    format!(
        "console=ttyS0 quiet reboot=k panic=1 net.ifnames=0 cloud-init=disabled cryptomgr.notests{emulated} banger.disks={}",
        disks.join(",")
    )
}

/// Tells how far a start is, keeps the time each stage took, and notices a cancel between two of them.
struct Stages<'a> {
    handle: &'a Handle,
    since: Instant,
    current: Option<&'static str>,
    done: Vec<StageTiming>,
}

impl<'a> Stages<'a> {
    fn new(handle: &'a Handle) -> Self {
        Self { handle, since: Instant::now(), current: None, done: Vec::new() }
    }

    fn begin(&mut self, name: &'static str) -> Result<(), StartError> {
        self.end_current();
        self.check()?;
        self.handle.stage(name);
        self.current = Some(name);
        Ok(())
    }

    fn check(&self) -> Result<(), StartError> {
        if self.handle.is_cancelled() { Err(StartError::Cancelled) } else { Ok(()) }
    }

    async fn unless_cancelled<T>(
        &self,
        wait: impl Future<Output = Result<T, BootError>>,
    ) -> Result<T, StartError> {
        tokio::select! {
            outcome = wait => outcome.map_err(StartError::Boot),
            () = self.handle.cancelled() => Err(StartError::Cancelled),
        }
    }

    fn end_current(&mut self) {
        if let Some(name) = self.current.take() {
            let took_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.done.push(StageTiming { name: name.to_owned(), took_ms });
        }
        self.since = Instant::now();
    }

    fn finish(mut self) -> Vec<StageTiming> {
        self.end_current();
        self.done
    }
}

/// An error and its causes on one line.
fn chain(error: &StartError) -> String {
    RpcError::from_error(ErrorKind::OperationFailed, error).to_string()
}

fn explain(
    vm: &VmRecord,
    error: &StartError,
    last_words: Option<String>,
    left_behind: Option<ReleaseError>,
) -> RpcError {
    let mut causes = vec![error.to_string()];
    causes.extend(RpcError::from_error(ErrorKind::OperationFailed, error).causes);
    if matches!(error, StartError::Boot(_) | StartError::Backend(_)) {
        causes.extend(last_words);
    }
    if let Some(left_behind) = left_behind {
        causes.push(RpcError::from_error(ErrorKind::OperationFailed, &left_behind).to_string());
    }
    let hint = match error {
        StartError::NoVmm(error) => Some(error.hint().to_owned()),
        StartError::Effect(error) => error.hint.clone(),
        StartError::SharedFile(_) => Some(format!(
            "make it again: `banger image delete {}` and `banger kernel rm {}`, then pull them",
            vm.image, vm.kernel
        )),
        StartError::Boot(_) | StartError::Backend(_) => Some(format!(
            "`banger vm logs {0}` shows its console; `banger vm delete {0}` removes it",
            vm.name
        )),
        StartError::Store(error) => error.hint(),
        StartError::Folder(error) => crate::clone::hint_for(error),
        StartError::Keys(_) | StartError::Cancelled => None,
    };
    let message = format!("VM `{}` did not start", vm.name);
    RpcError { causes, hint, ..RpcError::new(ErrorKind::OperationFailed, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_told_its_disks_in_the_order_it_gets_them() {
        let roles = [DiskRole::Root, DiskRole::Work];
        assert!(command_line(Acceleration::Kvm, roles.into_iter()).ends_with(" banger.disks=root,work"));
        assert!(!command_line(Acceleration::Kvm, roles.into_iter()).contains("mitigations"));
    }
}
