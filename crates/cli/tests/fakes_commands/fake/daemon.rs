//! The daemon's side of every connection.

use super::agent;
use banger_guest_agent::turn::Turns;
use banger_protocol::daemon_api::operation::{Event, OperationStarted, OperationState, OperationView};
use banger_protocol::daemon_api::personal::{self, Kept};
use banger_protocol::daemon_api::vm::{Checked, Connected, Created, LogChunk, SshAccess, VmHealth, VmView};
use banger_protocol::daemon_api::workspace::{Turn, Workspace, WorkspaceStatus};
use banger_protocol::daemon_api::{DaemonCall, image::ImageView, kernel::KernelView, system::VersionReply};
use banger_protocol::guest_api::Health;
use banger_protocol::ids::{OperationId, VmId};
use banger_protocol::names::VmName;
use banger_protocol::wire::{
    Connection, ErrorKind, RpcError, encode_event, encode_response, parse_request, send,
};
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What becomes of a VM that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Runs,
    Fails,
    /// Goes on starting until it is cancelled.
    Hangs,
}

#[derive(Debug)]
struct Known {
    protocol: u32,
    start: Start,
    /// Whether those who create a VM are kept waiting for the answer.
    withholds_create: bool,
    /// How many connections to come are closed before a word, as by a daemon that is ending.
    hangs_up: usize,
    /// Whether a connection is closed as soon as it has handed over an agent.
    leaves_after_connect: bool,
    vms: Vec<VmView>,
    images: Vec<ImageView>,
    kernels: Vec<KernelView>,
    operations: HashMap<OperationId, OperationState>,
    asked: Vec<String>,
    ingested: Vec<Vec<u8>>,
    /// What the agents were told of the user's terminal.
    terminals: Vec<String>,
    /// Where commands in guests are at home.
    guest_home: PathBuf,
    turns: Arc<Turns>,
    /// What every guest is given.
    given: personal::Set,
}

/// A daemon in this process; it lives as long as the test.
#[derive(Clone, Debug)]
pub(crate) struct FakeDaemon {
    known: Arc<(Mutex<Known>, Condvar)>,
}

type Answer = Result<(Value, Option<OwnedFd>), RpcError>;

impl FakeDaemon {
    pub(crate) fn listen(socket: &Path) -> Self {
        let known = Known {
            protocol: PROTOCOL_VERSION,
            start: Start::Runs,
            withholds_create: false,
            hangs_up: 0,
            leaves_after_connect: false,
            vms: Vec::new(),
            images: Vec::new(),
            kernels: Vec::new(),
            operations: HashMap::new(),
            asked: Vec::new(),
            ingested: Vec::new(),
            terminals: Vec::new(),
            guest_home: socket.with_file_name("guest-home"),
            turns: Arc::default(),
            given: personal::Set::default(),
        };
        let daemon = Self { known: Arc::new((Mutex::new(known), Condvar::new())) };
        let listener = UnixListener::bind(socket).unwrap();
        let serving = daemon.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let left = std::mem::take(&mut serving.known().hangs_up);
                if left > 0 {
                    serving.known().hangs_up = left - 1;
                    continue;
                }
                let daemon = serving.clone();
                thread::spawn(move || daemon.serve(stream));
            }
        });
        daemon
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.0.lock().unwrap()
    }

    pub(crate) fn speaks_protocol(&self, protocol: u32) {
        self.known().protocol = protocol;
    }

    pub(crate) fn starts(&self, start: Start) {
        self.known().start = start;
    }

    pub(crate) fn withholds_create(&self, withholds: bool) {
        self.known().withholds_create = withholds;
        self.known.1.notify_all();
    }

    pub(crate) fn hangs_up(&self, connections: usize) {
        self.known().hangs_up = connections;
    }

    pub(crate) fn leaves_after_connect(&self) {
        self.known().leaves_after_connect = true;
    }

    /// The image and the kernel that VMs are made of by default.
    pub(crate) fn has_default_image(&self) {
        self.known().kernels.push(kernel("debian-bookworm-cloud"));
        self.known().images.push(image("debian-bookworm"));
    }

    pub(crate) fn has_vm(&self, id: &str, name: &str) {
        self.known().vms.push(vm(id.parse().unwrap(), name.parse().unwrap()));
    }

    /// A VM with a repository in it.
    pub(crate) fn has_workspace(&self, id: &str, name: &str, workspace: Workspace) {
        let workspace = Some(workspace);
        self.known().vms.push(VmView { workspace, ..vm(id.parse().unwrap(), name.parse().unwrap()) });
    }

    /// Root's home in every guest; one with a file `no-git` in it has no git.
    pub(crate) fn guest_home(&self) -> PathBuf {
        let home = self.known().guest_home.clone();
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    pub(crate) fn workspace(&self, name: &str) -> Option<Workspace> {
        self.known().vm(name).unwrap().workspace
    }

    pub(crate) fn vm_names(&self) -> Vec<String> {
        self.known().vms.iter().map(|vm| vm.name.to_string()).collect()
    }

    /// The methods that were called, without those that only look.
    pub(crate) fn asked(&self) -> Vec<String> {
        let looks = [
            "vm.check",
            "personal.set",
            "version",
            "image.show",
            "kernel.show",
            "operation.watch",
            "vm.list",
        ];
        self.known().asked.iter().filter(|method| !looks.contains(&method.as_str())).cloned().collect()
    }

    pub(crate) fn given(&self) -> personal::Set {
        self.known().given.clone()
    }

    pub(crate) fn ingested(&self) -> Vec<Vec<u8>> {
        self.known().ingested.clone()
    }

    pub(crate) fn terminals(&self) -> Vec<String> {
        self.known().terminals.clone()
    }

    /// Waits until a method was called.
    pub(crate) fn wait_for(&self, method: &str) {
        let called = |known: &mut Known| !known.asked.iter().any(|asked| asked == method);
        drop(self.known.1.wait_while(self.known(), called).unwrap());
    }

    pub(crate) fn forgets_what_was_asked(&self) {
        self.known().asked.clear();
    }

    /// Waits until a method was called so often, or the command has ended without that.
    pub(crate) fn reaches(&self, method: &str, times: usize, mut child: Child) -> Result<Child, Child> {
        let count = |known: &Known| known.asked.iter().filter(|asked| *asked == method).count();
        let mut known = self.known();
        while count(&known) < times {
            if child.try_wait().unwrap().is_some() {
                return Err(child);
            }
            known = self.known.1.wait_timeout(known, Duration::from_millis(5)).unwrap().0;
        }
        Ok(child)
    }

    fn serve(&self, stream: UnixStream) {
        let mut connection = Connection::new(stream);
        let mut leased = None;
        while let Ok(Some(line)) = connection.read_line() {
            let request = parse_request(&line.bytes).unwrap();
            let call = DaemonCall::parse(&request.method, request.params.get()).unwrap();
            self.known().asked.push(request.method.to_string());
            self.known.1.notify_all();
            let leaves = matches!(call, DaemonCall::VmConnect(_)) && self.known().leaves_after_connect;
            let (outcome, descriptor) = match self.answer(call, line.descriptors, &connection, &mut leased) {
                Ok((value, descriptor)) => (Ok(value), descriptor),
                Err(refusal) => (Err(refusal), None),
            };
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            let _ = send(connection.stream(), &encode_response(request.id, &outcome), &descriptors);
            if leaves {
                // As a daemon that was killed: it forgets the lease.
                return;
            }
        }
        if let Some(id) = leased {
            self.known().vms.retain(|vm| vm.id != id);
        }
    }

    fn answer(
        &self,
        call: DaemonCall,
        descriptors: Vec<OwnedFd>,
        connection: &Connection,
        leased: &mut Option<VmId>,
    ) -> Answer {
        let mut known = self.known();
        match call {
            DaemonCall::Version(_) => {
                value(VersionReply { protocol: known.protocol, version: VERSION.to_owned() })
            }
            DaemonCall::ImageList(_) => value(&known.images),
            DaemonCall::ImageShow(show) => find(&known.images, |image| image.name == show.image),
            DaemonCall::KernelShow(show) => find(&known.kernels, |kernel| kernel.name == show.kernel),
            DaemonCall::ImageIngest(ingest) => {
                let made = image(ingest.name.as_str());
                known.images.push(made.clone());
                known.take_in(descriptors, json!(made))
            }
            DaemonCall::KernelIngest(ingest) => {
                let made = kernel(ingest.name.as_str());
                known.kernels.push(made.clone());
                known.take_in(descriptors, json!(made))
            }
            DaemonCall::PersonalSet(given) => {
                known.given = given;
                value(Kept {})
            }
            DaemonCall::VmCheck(_) => value(Checked {}),
            DaemonCall::VmCreate(create) => {
                known = self.known.1.wait_while(known, |known| known.withholds_create).unwrap();
                let made = vm(VmId::random(), create.name.unwrap_or_else(|| "brave-otter".parse().unwrap()));
                let state = match known.start {
                    Start::Runs => OperationState::Succeeded(json!(made)),
                    Start::Fails => {
                        OperationState::Failed(RpcError::new(ErrorKind::OperationFailed, "VM did not start"))
                    }
                    Start::Hangs => OperationState::Running,
                };
                if create.lease && known.start == Start::Runs {
                    *leased = Some(made.id.clone());
                }
                let operation = known.operation(state);
                let created = Created { operation, id: made.id.clone(), name: made.name.clone() };
                known.vms.push(made);
                value(created)
            }
            DaemonCall::VmDelete(delete) => {
                let vm = known.vm(&delete.vm.0)?;
                known.vms.retain(|other| other.id != vm.id);
                let state = OperationState::Succeeded(json!({"id": vm.id, "name": vm.name}));
                value(known.operation(state))
            }
            DaemonCall::VmStart(start) => {
                let vm = known.vm(&start.vm.0)?;
                value(known.operation(OperationState::Succeeded(json!(vm))))
            }
            DaemonCall::VmStop(stop) => {
                let vm = known.vm(&stop.vm.0)?;
                value(known.operation(OperationState::Succeeded(json!(vm))))
            }
            DaemonCall::VmList(_) => value(&known.vms),
            DaemonCall::VmShow(show) => value(known.vm(&show.vm.0)?),
            DaemonCall::VmHealth(asked) => {
                let VmView { id, name, .. } = known.vm(&asked.vm.0)?;
                let agent =
                    Health { version: String::new(), boot_id: String::new(), usable: true, uptime_ms: 1 };
                let systemd = Some("running".to_owned());
                value(VmHealth { id, name, healthy: true, problem: None, agent: Some(agent), systemd })
            }
            DaemonCall::VmLogs(logs) => {
                let text = if logs.offset == 0 { "booting\n" } else { "" }.to_owned();
                value(LogChunk { next_offset: logs.offset + text.len() as u64, text, live: false })
            }
            DaemonCall::VmSsh(ssh) => {
                let name = known.vm(&ssh.vm.0)?.name;
                let host_key = "ssh-ed25519 AAAA".to_owned();
                value(SshAccess { name, host_key, identity_file: "/key".to_owned(), has_sshd: false })
            }
            DaemonCall::VmWorkspacePrepare(prepare) => {
                let VmView { id, name, workspace, .. } = known.vm(&prepare.vm.0)?;
                value(Turn { id, name, workspace })
            }
            DaemonCall::VmWorkspaceRecord(record) => {
                let id = known.vm(&record.vm.0)?.id;
                let workspace = Workspace { prepared: "2026-01-01T00:00:00Z".to_owned(), ..record.workspace };
                let vm = known.vms.iter_mut().find(|vm| vm.id == id).unwrap();
                vm.workspace = Some(workspace.clone());
                value(workspace)
            }
            DaemonCall::VmWorkspaceStatus(status) => {
                let VmView { id, name, workspace, .. } = known.vm(&status.vm.0)?;
                value(WorkspaceStatus { id, name, workspace, busy: false })
            }
            DaemonCall::VmConnect(connect) => {
                let VmView { id, workspace, .. } = known.vm(&connect.vm.0)?;
                let (theirs, ours) = UnixStream::pair().unwrap();
                let daemon = self.clone();
                let (home, turns) = (known.guest_home.clone(), known.turns.clone());
                thread::spawn(move || {
                    agent::serve(ours, &home, &turns, |terminal| daemon.known().terminals.push(terminal));
                });
                Ok((json!(Connected { id, workspace }), Some(theirs.into())))
            }
            DaemonCall::OperationWatch(watch) => {
                let stage = Event::Stage { name: "boot".to_owned(), elapsed_ms: 0 };
                let _ = send(connection.stream(), &encode_event(&stage), &[]);
                let runs = |known: &mut Known| known.operations[&watch.operation] == OperationState::Running;
                known = self.known.1.wait_while(known, runs).unwrap();
                let state = known.operations[&watch.operation].clone();
                value(view(watch.operation, state))
            }
            DaemonCall::OperationCancel(cancel) => {
                known.operations.insert(cancel.operation.clone(), OperationState::Cancelled);
                known.vms.clear();
                self.known.1.notify_all();
                value(view(cancel.operation, OperationState::Cancelled))
            }
            other => panic!("no test needs {}", other.method()),
        }
    }
}

impl Known {
    fn operation(&mut self, state: OperationState) -> OperationStarted {
        let operation = OperationId::random();
        self.operations.insert(operation.clone(), state);
        OperationStarted { operation }
    }

    fn take_in(&mut self, descriptors: Vec<OwnedFd>, made: Value) -> Answer {
        use std::io::{Seek, SeekFrom};
        let mut archive = File::from(descriptors.into_iter().next().unwrap());
        let mut bytes = Vec::new();
        archive.seek(SeekFrom::Start(0)).unwrap();
        archive.read_to_end(&mut bytes).unwrap();
        self.ingested.push(bytes);
        value(self.operation(OperationState::Succeeded(made)))
    }

    fn vm(&self, reference: &str) -> Result<VmView, RpcError> {
        let found = self.vms.iter().find(|vm| vm.id.as_str() == reference || vm.name.as_str() == reference);
        found
            .cloned()
            .ok_or_else(|| RpcError::new(ErrorKind::NotFound, format!("VM `{reference}` not found")))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what every arm answers with")]
fn value(value: impl Serialize) -> Answer {
    Ok((json!(value), None))
}

fn find<T: Serialize>(all: &[T], wanted: impl Fn(&T) -> bool) -> Answer {
    let found = all.iter().find(|one| wanted(one));
    found.map_or_else(|| Err(RpcError::new(ErrorKind::NotFound, "not here")), value)
}

fn view(operation: OperationId, state: OperationState) -> OperationView {
    OperationView { operation, method: "vm.create".into(), subject: "dev".into(), state, elapsed_ms: 1 }
}

fn vm(id: VmId, name: VmName) -> VmView {
    serde_json::from_value(json!({
        "id": id, "name": name, "state": "running", "reason": "the guest powered off", "image": "debian-bookworm",
        "kernel": "debian-bookworm-cloud", "address": "172.16.0.2", "vcpu": 2, "memory": 1_073_741_824_u64, "disk_size": 8_589_934_592_u64, "nat": false,
        "created": "2026-01-01T00:00:00Z", "lease": false
    }))
    .unwrap()
}

fn image(name: &str) -> ImageView {
    serde_json::from_value(json!({
        "name": name, "source": "debian bookworm", "kernel": "debian-bookworm-cloud", "digest": "00", "size": 1,
        "disk_usage": 1, "entries": 1, "has_init": true, "has_sshd": true, "has_agent": true, "managed": true, "created": "2026-01-01T00:00:00Z",
        "rootfs_path": "/r", "work_seed_path": "/w"
    }))
    .unwrap()
}

fn kernel(name: &str) -> KernelView {
    serde_json::from_value(json!({
        "name": name, "source": "debian", "version": "6.1", "arch": "x86_64", "sha256": "00", "disk_usage": 1,
        "own_initrd": false, "created": "2026-01-01T00:00:00Z"
    }))
    .unwrap()
}
