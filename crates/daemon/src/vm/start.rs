//! Starts a VM. This file decides the order of the steps; each of them is an effect or a wait.
//!
//! preflight → directory, the VMM's preparation → config drive → root disk → work disk → network, tap, NAT → VMM → agent
//!           → name → usable
//!
//! The state becomes `Starting` before the first effect, and `Running` after the last wait. If anything fails in between,
//! [`release`] takes everything down again, and the state says what failed.

use super::boot::{BootError, Notices, last_words};
use super::disks::{Circumstances, RootDisk};
use super::driver::{self, DriverError, Launched, Parts};
use super::effect::{Effect, EffectError, perform};
use super::keys::KeyError;
use super::network_tools::MissingTool;
use super::release::{Depth, ReleaseError, release};
use super::shared_files::{SharedFileError, SharedFiles};
use super::state::{Action, Running, VmState};
use super::vmm::{self, NoVmm};
use super::{config_drive, folder, keys, names, view, watch};
use crate::Services;
use crate::operation::{Ended, Handle};
use crate::personal;
use crate::store::{ImageRecord, KernelRecord, StoreError, VmRecord};
use banger_protocol::daemon_api::vm::{StageTiming, VmView};
use banger_protocol::guest_api::Notice;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{CONSOLE_LOG, ProcessIdentity};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Why a VM did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no usable VMM")]
    NoVmm(#[source] NoVmm),
    #[error("the network is not available")]
    MissingTool(#[source] MissingTool),
    #[error(transparent)]
    SharedFile(SharedFileError),
    #[error("its keys could not be created")]
    Keys(#[source] KeyError),
    #[error("its directory could not be used")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Effect(#[from] EffectError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("it did not boot")]
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
    if !view::allow(&vm, Action::Start)? {
        return Ok(view::of(&vm));
    }
    start_locked(services, &vm, early, handle).await
}

/// Starts a VM that is down. The caller holds its lock and has noted the start.
pub(super) async fn start_locked(
    services: &Arc<Services>,
    vm: &VmRecord,
    early: bool,
    handle: &Handle,
) -> Result<VmView, Ended> {
    let id = &vm.id;
    let store = |e: StoreError| Ended::from(RpcError::from(e));
    services.store.set_vm_state(id, &VmState::Starting).map_err(store)?;
    let begun = SystemTime::now();
    let mut clock = Stages::new(handle);
    let outcome = bring_up(services, vm, early, &mut clock).await.and_then(|running| {
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
            let last_words = last_words(&services.state.vm(id), begun);
            Err(explain(vm, &error, last_words, left_behind).into())
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
    let vmm =
        vmm::choose(&services.host, services.config.vmm.value, vm.spec.vcpu).map_err(StartError::NoVmm)?;
    services.network_tools.check(vm.spec.nat).map_err(StartError::MissingTool)?;
    // An image whose record is gone has its files still, and says nothing more.
    let image = services.store.find::<ImageRecord>(vm.image.as_str())?;
    let files = SharedFiles::find(services, vm, image.as_ref());
    let kernel = services.store.find::<KernelRecord>(vm.kernel.as_str())?;
    let own_initrd = kernel.as_ref().is_some_and(|kernel| kernel.own_initrd);
    let unheard = own_initrd && image.as_ref().is_some_and(|image| image.no_agent && !image.has_agent);
    let root = RootDisk::choose(Circumstances::look(services, id, vmm, kernel.as_ref()));
    let disks = root.disks();
    let shared = files.open(&disks).map_err(StartError::SharedFile)?;
    let public = keys::own_key(&services.ssh_key).map_err(StartError::Keys)?;
    let config = image.map(|image| image.config);
    let given = personal::last(&services.state);
    let drive = config_drive::render(vm, config.unwrap_or_default(), services.range, &public, given)
        .map_err(StartError::Keys)?;

    stages.begin("disks")?;
    perform(services, id, Effect::MakeFolder).await?;
    let folder = services.state.vm(id);
    // First, so that it comes up while everything else is made.
    let begun = driver::begin(services, vmm, vm).await?;
    perform(services, id, Effect::WriteConfigDrive(drive)).await?;
    for effect in root.prepare(&files.rootfs) {
        perform(services, id, effect).await?;
    }
    stages.check()?;
    let (seed, prepared, size) = (files.work_seed.clone(), files.image.clone(), vm.spec.disk_size);
    perform(services, id, Effect::MakeWorkDisk { seed, prepared, size }).await?;

    stages.begin("network")?;
    perform(services, id, Effect::EnsureNetwork).await?;
    perform(services, id, Effect::ServeDns).await?;
    let (address, nat) = (vm.address, vm.spec.nat);
    perform(services, id, Effect::CreateTap { address, nat }).await?;
    if nat {
        perform(services, id, Effect::OpenEgress).await?;
    }

    stages.begin("vmm")?;
    let console_start = folder::length(&folder, CONSOLE_LOG);
    let mut notices = Notices::listen(&folder).map_err(StartError::Folder)?;
    let launched = driver::launch(services, vmm, vm, begun, Parts { disks, shared, own_initrd }).await?;
    let Launched { vmm: vmm_process, vsock_backend } = launched;

    let processes: Vec<ProcessIdentity> = std::iter::once(vmm_process).chain(vsock_backend).collect();
    stages.begin("agent")?;
    let boot_id = loop {
        if unheard {
            break String::new();
        }
        let notice = notices.wait("its agent", &processes, vmm.acceleration());
        if let Notice::Agent { boot_id, .. } = stages.unless_cancelled(notice).await? {
            break boot_id;
        }
    };
    names::publish(services, vm);
    if !early && !unheard {
        stages.begin("usable")?;
        loop {
            let notice = notices.wait("its own start-up", &processes, vmm.acceleration());
            if let Notice::Usable { .. } = stages.unless_cancelled(notice).await? {
                break;
            }
        }
    }
    Ok(Running {
        vmm: vmm_process,
        vsock_backend,
        vmm_name: vmm.name(),
        acceleration: vmm.acceleration(),
        boot_id,
        since: crate::store::now(),
        console_start,
    })
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
    last_words: Vec<String>,
    left_behind: Option<ReleaseError>,
) -> RpcError {
    let mut causes = vec![error.to_string()];
    causes.extend(RpcError::from_error(ErrorKind::OperationFailed, error).causes);
    if matches!(error, StartError::Boot(_) | StartError::Driver(_)) {
        causes.extend(last_words);
    }
    if let Some(left_behind) = left_behind {
        causes.push(RpcError::from_error(ErrorKind::OperationFailed, &left_behind).to_string());
    }
    let hint = match error {
        StartError::NoVmm(error) => Some(error.hint()),
        StartError::MissingTool(missing) => Some(missing.hint()),
        StartError::Effect(error) => error.hint.clone(),
        StartError::Driver(DriverError::Effect(error)) if error.hint.is_some() => error.hint.clone(),
        StartError::SharedFile(_) => Some(format!(
            "recreate it: `banger image delete {}` and `banger kernel rm {}`, then pull them again",
            vm.image, vm.kernel
        )),
        StartError::Boot(_) | StartError::Driver(_) => Some(format!(
            "`banger vm logs {0}` shows its console; `banger vm delete {0}` deletes it",
            vm.name
        )),
        StartError::Store(error) => error.hint(),
        StartError::Folder(error) => crate::clone::hint_for(error),
        StartError::Keys(_) | StartError::Cancelled => None,
    };
    let message = format!("VM `{}` did not start", vm.name);
    RpcError { causes, hint, ..RpcError::new(ErrorKind::OperationFailed, message) }
}
