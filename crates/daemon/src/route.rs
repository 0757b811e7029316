//! One arm per request; nothing is decided here.
//!
//! Requests that read files or ask the helper run in `block_in_place`, so that a slow disk or a stopped helper delays only
//! the client that asked.

use crate::operation::{Ended, Handle};
use crate::serve::Client;
use crate::station::Station;
use crate::store::VmRecord;
use crate::vm::{
    connect, create, delete, health, kill, logs, pause, ports, restart, set, start, stats, stop, view,
};
use crate::{Services, doctor, image, kernel, personal, workspace};
use banger_protocol::daemon_api::DaemonCall;
use banger_protocol::daemon_api::operation::OperationStarted;
use banger_protocol::daemon_api::system::{DaemonStatus, Mode, Pong, ShuttingDown};
use banger_protocol::daemon_api::vm::{Connected, SshAccess, State, VmView};
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::task::block_in_place;

/// Answers one request. An error is the connection's, not the request's: those are answers.
pub(crate) async fn route(
    call: DaemonCall,
    id: u64,
    descriptors: Vec<OwnedFd>,
    client: &Client,
    services: &Arc<Services>,
) -> io::Result<()> {
    let s = services;
    match call {
        DaemonCall::Version(_) => unreachable!("answered before routing"),
        DaemonCall::Ping(_) => reply(client, id, Ok(Pong {})).await,
        DaemonCall::Status(_) => reply(client, id, block_in_place(|| status(s))).await,
        DaemonCall::Shutdown(_) => {
            let running = running_count(s);
            reply(client, id, running.map(|vms_running| ShuttingDown { vms_running })).await?;
            s.stopping.cancel();
            Ok(())
        }
        DaemonCall::Doctor(_) => reply(client, id, Ok(block_in_place(|| doctor::run(s)))).await,

        DaemonCall::OperationWatch(request) => {
            let mut watcher = match s.operations.watch(&request.operation) {
                Ok(watcher) => watcher,
                Err(error) => return reply::<()>(client, id, Err(error)).await,
            };
            loop {
                tokio::select! {
                    event = watcher.next() => match event {
                        Some(event) => client.event(&event).await?,
                        None => return reply(client, id, Ok(watcher.view())).await,
                    },
                    () = client.gone.cancelled() => return Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
        }
        DaemonCall::OperationStatus(request) => {
            reply(client, id, s.operations.status(&request.operation)).await
        }
        DaemonCall::OperationCancel(request) => {
            let outcome = s.operations.cancel(&request.operation).await;
            reply(client, id, outcome).await
        }
        DaemonCall::OperationList(_) => reply(client, id, Ok(s.operations.list())).await,

        DaemonCall::VmCheck(request) => reply(client, id, create::check(s, &request)).await,
        DaemonCall::PersonalSet(request) => {
            reply(client, id, block_in_place(|| personal::set(&s.state, &request))).await
        }
        DaemonCall::VmCreate(request) => {
            reply(client, id, block_in_place(|| create::create(s, client, request))).await
        }
        DaemonCall::VmStart(request) => {
            let work = move |s, vm: VmRecord, handle| async move {
                start::start(&s, &vm.id, request.early, &handle).await
            };
            reply(client, id, begin(s, &request.vm, "vm.start", work)).await
        }
        DaemonCall::VmStop(request) => {
            let work = move |s, vm: VmRecord, _| async move { stop::stop(&s, &vm.id).await };
            reply(client, id, begin(s, &request.vm, "vm.stop", work)).await
        }
        DaemonCall::VmRestart(request) => {
            let work = move |s, vm: VmRecord, handle| async move {
                restart::restart(&s, &vm.id, request.early, &handle).await
            };
            reply(client, id, begin(s, &request.vm, "vm.restart", work)).await
        }
        DaemonCall::VmKill(request) => {
            let work = move |s, vm: VmRecord, _| async move { kill::kill(&s, &vm.id, request.signal).await };
            reply(client, id, begin(s, &request.vm, "vm.kill", work)).await
        }
        DaemonCall::VmPause(request) => {
            let work = move |s, vm: VmRecord, _| async move { pause::pause(&s, &vm.id).await };
            reply(client, id, begin(s, &request.vm, "vm.pause", work)).await
        }
        DaemonCall::VmResume(request) => {
            let work = move |s, vm: VmRecord, _| async move { pause::resume(&s, &vm.id).await };
            reply(client, id, begin(s, &request.vm, "vm.resume", work)).await
        }
        DaemonCall::VmDelete(request) => {
            let work = move |s, vm: VmRecord, _| async move {
                delete::delete(&s, &vm, request.unless_running).await
            };
            reply(client, id, begin(s, &request.vm, "vm.delete", work)).await
        }
        DaemonCall::VmSet(request) => reply(client, id, set::set(s, &request).await).await,
        DaemonCall::VmList(_) => {
            let outcome = view::all(s).map(|vms| vms.iter().map(view::of).collect::<Vec<VmView>>());
            reply(client, id, outcome).await
        }
        DaemonCall::VmShow(request) => {
            reply(client, id, view::find(s, &request.vm).map(|vm| view::of(&vm))).await
        }
        DaemonCall::VmStats(request) => {
            reply(client, id, block_in_place(|| stats::stats(s, &request.vm))).await
        }
        DaemonCall::VmHealth(request) => reply(client, id, health::health(s, &request.vm).await).await,
        DaemonCall::VmPorts(request) => reply(client, id, ports::ports(s, &request.vm).await).await,
        DaemonCall::VmLogs(request) => reply(client, id, block_in_place(|| logs::logs(s, &request))).await,
        DaemonCall::VmConnect(request) => match connect::connect(s, &request.vm).await {
            Ok((vm, stream)) => {
                let connected = Connected { id: vm.id, workspace: vm.workspace };
                client.reply(id, &Ok(connected), &[stream.as_fd()]).await
            }
            Err(error) => client.reply::<()>(id, &Err(error), &[]).await,
        },
        DaemonCall::VmSsh(request) => reply(client, id, block_in_place(|| ssh_access(s, &request.vm))).await,

        DaemonCall::VmWorkspacePrepare(request) => {
            reply(client, id, workspace::prepare(s, client, &request.vm).await).await
        }
        DaemonCall::VmWorkspaceRecord(request) => {
            reply(client, id, workspace::record(s, client, request)).await
        }
        DaemonCall::VmWorkspaceStatus(request) => reply(client, id, workspace::status(s, &request.vm)).await,

        DaemonCall::ImageList(_) => reply(client, id, block_in_place(|| image::list(s))).await,
        DaemonCall::ImageShow(request) => {
            reply(client, id, block_in_place(|| image::show(s, &request.image))).await
        }
        DaemonCall::ImageIngest(request) => {
            let layers: Vec<File> = descriptors.into_iter().map(File::from).collect();
            let outcome = image::check(&request, &layers).map(|()| {
                let services = s.clone();
                let subject = request.name.to_string();
                let work = |handle| async move { image::ingest(&services, request, layers, &handle).await };
                OperationStarted { operation: s.operations.start("image.ingest", subject, work) }
            });
            reply(client, id, outcome).await
        }
        DaemonCall::ImageUnbundle(request) => {
            let outcome = only(descriptors).map(|bundle| {
                let services = s.clone();
                let subject = request.name.to_string();
                let work = |handle| async move { image::unbundle(&services, request, bundle, &handle).await };
                OperationStarted { operation: s.operations.start("image.unbundle", subject, work) }
            });
            reply(client, id, outcome).await
        }
        DaemonCall::ImageRegister(request) => {
            let files = descriptors.into_iter().map(File::from).collect();
            let subject = request.name.to_string();
            let outcome = block_in_place(|| image::check_register(request, files)).map(|checked| {
                let services = s.clone();
                let work = |handle| async move { image::register(&services, checked, &handle).await };
                OperationStarted { operation: s.operations.start("image.register", subject, work) }
            });
            reply(client, id, outcome).await
        }
        DaemonCall::ImagePromote(request) => {
            let services = s.clone();
            let subject = request.image.to_string();
            let work = |handle| async move { image::promote(&services, request.image, &handle).await };
            let operation = s.operations.start("image.promote", subject, work);
            reply(client, id, Ok(OperationStarted { operation })).await
        }
        DaemonCall::ImageDelete(request) => {
            reply(client, id, block_in_place(|| image::delete(s, request.image))).await
        }

        DaemonCall::KernelList(_) => reply(client, id, block_in_place(|| kernel::list(s))).await,
        DaemonCall::KernelShow(request) => {
            reply(client, id, block_in_place(|| kernel::show(s, &request.kernel))).await
        }
        DaemonCall::KernelIngest(request) => {
            let files = descriptors.into_iter().map(File::from).collect();
            let outcome = kernel::Parts::of_request(request.own_initrd, files).map(|parts| {
                let services = s.clone();
                let subject = request.name.to_string();
                let work = |handle| async move { kernel::ingest(&services, request, parts, &handle).await };
                OperationStarted { operation: s.operations.start("kernel.ingest", subject, work) }
            });
            reply(client, id, outcome).await
        }
        DaemonCall::KernelUnbundle(request) => {
            let outcome = only(descriptors).map(|bundle| {
                let services = s.clone();
                let subject = request.name.to_string();
                let work =
                    |handle| async move { kernel::unbundle(&services, request, bundle, &handle).await };
                OperationStarted { operation: s.operations.start("kernel.unbundle", subject, work) }
            });
            reply(client, id, outcome).await
        }
        DaemonCall::KernelDelete(request) => {
            reply(client, id, block_in_place(|| kernel::delete(s, request.kernel))).await
        }
    }
}

/// Starts an operation on the VM that a request means.
fn begin<R, F>(
    services: &Arc<Services>,
    reference: &VmRef,
    method: &'static str,
    work: impl FnOnce(Arc<Services>, VmRecord, Handle) -> F,
) -> Result<OperationStarted, RpcError>
where
    R: Serialize,
    F: Future<Output = Result<R, Ended>> + Send + 'static,
{
    let vm = view::find(services, reference)?;
    let (services, subject) = (services.clone(), vm.name.to_string());
    let operations = services.clone();
    let work = |handle| work(services, vm, handle);
    Ok(OperationStarted { operation: operations.operations.start(method, subject, work) })
}

async fn reply<R: Serialize>(client: &Client, id: u64, outcome: Result<R, RpcError>) -> io::Result<()> {
    client.reply(id, &outcome, &[]).await
}

/// The one file that must come with the request.
fn only(mut descriptors: Vec<OwnedFd>) -> Result<File, RpcError> {
    match (descriptors.pop(), descriptors.is_empty()) {
        (Some(only), true) => Ok(File::from(only)),
        _ => Err(RpcError::new(ErrorKind::BadRequest, "the request must carry exactly one descriptor")),
    }
}

fn running_count(services: &Services) -> Result<u64, RpcError> {
    Ok(view::all(services)?.iter().filter(|vm| vm.state.name() == State::Running).count() as u64)
}

fn status(services: &Services) -> Result<DaemonStatus, RpcError> {
    Ok(DaemonStatus {
        pid: std::process::id(),
        version: banger_protocol::VERSION.to_owned(),
        mode: match services.station {
            Station::Local => Mode::Local,
            Station::System(_) => Mode::System,
        },
        socket: services.socket.display().to_string(),
        state_folder: services.state.path().display().to_string(),
        uptime_ms: u64::try_from(services.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        vms: view::all(services)?.len() as u64,
        vms_running: running_count(services)?,
        helper_pid: services.helper.pid(),
    })
}

fn ssh_access(services: &Services, reference: &VmRef) -> Result<SshAccess, RpcError> {
    let broken = |e: &(dyn std::error::Error + 'static)| RpcError::from_error(ErrorKind::OperationFailed, e);
    let vm = view::find(services, reference)?;
    let host_key = crate::vm::public_of(&vm.host_key).map_err(|e| broken(&e))?;
    crate::vm::own_key(&services.ssh_key).map_err(|e| broken(&e))?;
    let image = image::show(services, &vm.image);
    Ok(SshAccess {
        name: vm.name,
        host_key,
        identity_file: services.ssh_key.display().to_string(),
        has_sshd: image.is_ok_and(|image| image.has_sshd),
    })
}
