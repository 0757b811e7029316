//! A real `bangerd-root` in its own namespaces, and ways to look into them.
//!
//! Works as root and as an ordinary user. Nothing it does reaches the host's own network.
#![allow(dead_code, reason = "each test program uses its own part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(
    clippy::disallowed_methods,
    reason = "the harness starts the programs under test and the host's tools"
)]

pub(crate) mod frame;
pub(crate) mod hostile;
pub(crate) mod installed;
pub(crate) mod wire;

use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{ProcessIdentity, ProcessStart, Program, TapCreate, Version, VersionReply};
use banger_protocol::wire::{Connection, ConnectionError, ErrorKind, RpcError};
use std::fs::{File, Permissions};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Far above what any wait here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A folder for one test; open to all, because VMs have users of their own when the helper is root.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A helper's child process, killed with the test.
pub(crate) struct Helper {
    pub(crate) child: Child,
    pub(crate) folder: PathBuf,
}

/// What a helper is started with.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) qemu: Option<PathBuf>,
    pub(crate) vsock_backend: Option<PathBuf>,
    pub(crate) join: Option<ProcessIdentity>,
    pub(crate) nft: Nft,
}

/// Which nft a helper is told of.
#[derive(Default)]
pub(crate) enum Nft {
    #[default]
    Hosts,
    None,
    Other(PathBuf),
}

impl Start {
    /// Starts the helper and waits until it answers.
    pub(crate) fn helper(&self, folder: &Path) -> Helper {
        let child = self.spawn(folder);
        let mut helper = Helper { child, folder: folder.to_owned() };
        until("the helper answers", || {
            let ended = helper.child.try_wait().unwrap();
            assert!(ended.is_none(), "the helper ended: {ended:?}: {}", helper.log());
            helper.try_connect().is_some()
        });
        helper
    }

    pub(crate) fn spawn(&self, folder: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bangerd-root"));
        command.args(["--local", "--bridge", "br-banger", "--address", "172.16.0.1/24"]);
        command.arg("--socket").arg(folder.join("root.sock"));
        let nft = match &self.nft {
            Nft::Hosts => Some(find("nft")),
            Nft::None => None,
            Nft::Other(path) => Some(path.clone()),
        };
        for (option, program) in
            [("--qemu", &self.qemu), ("--vsock-backend", &self.vsock_backend), ("--nft", &nft)]
        {
            if let Some(program) = program {
                command.arg(option).arg(program);
            }
        }
        if let Some(ProcessIdentity { pid, start_time }) = self.join {
            command.args(["--join-pid", &pid.to_string(), "--join-start-time", &start_time.to_string()]);
        }
        let log = File::options().append(true).create(true).open(folder.join("root.log")).unwrap();
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

impl Helper {
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("root.sock")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("root.log")).unwrap()
    }

    pub(crate) fn try_connect(&self) -> Option<(Connection, VersionReply)> {
        let mut connection = Connection::new(UnixStream::connect(self.socket()).ok()?);
        let reply = connection.call(&Version { protocol: PROTOCOL_VERSION, operation: None }).ok()?;
        Some((connection, reply))
    }

    /// A connection that has said which protocol it speaks.
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().expect("the helper answers").0
    }

    /// Runs one of the host's tools inside the helper's namespaces.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.inside_unchecked(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn inside_unchecked(&self, program: &str, arguments: &[&str]) -> Output {
        let pid = self.child.id().to_string();
        run(
            "nsenter",
            &[&["-t", &pid, "-U", "-n", "--preserve-credentials", "--", program], arguments].concat(),
        )
    }

    /// What `ip -details` says about one link in there.
    pub(crate) fn link(&self, name: &str) -> Option<serde_json::Value> {
        let links = self.inside("ip", &["-json", "-details", "address", "show"]);
        let links: Vec<serde_json::Value> = serde_json::from_str(&links).unwrap();
        links.into_iter().find(|link| link["ifname"] == name)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Its VMs first, while they can still be found.
        if let Some((mut connection, _)) = self.try_connect() {
            let inventory = connection.call(&banger_protocol::root_api::InventoryRequest {});
            for process in inventory.map(|found| found.processes).unwrap_or_default() {
                let _ = connection.call(&banger_protocol::root_api::ProcessKillAll { vm: process.vm });
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A VM's folder on the host.
pub(crate) struct Vm {
    pub(crate) id: VmId,
    pub(crate) path: PathBuf,
}

impl Vm {
    pub(crate) fn new(folder: &Path) -> Self {
        let id = VmId::random();
        let path = folder.join(id.as_str());
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        Self { id, path }
    }

    pub(crate) fn descriptor(&self) -> File {
        File::open(&self.path).unwrap()
    }

    pub(crate) fn start(
        &self,
        connection: &mut Connection,
        program: Program,
        files: &[&File],
    ) -> Result<ProcessIdentity, ConnectionError> {
        let folder = self.descriptor();
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(folder.as_fd()).chain(files.iter().map(|file| file.as_fd())).collect();
        let request = ProcessStart { vm: self.id.clone(), program };
        connection.call_with(&request, &descriptors, |_| {}).map(|(process, _)| process)
    }

    /// What the VM's programs printed, once it contains a word.
    pub(crate) fn log_with(&self, word: &str) -> String {
        let read = || std::fs::read_to_string(self.path.join("vmm.log")).unwrap_or_default();
        until(&format!("`{word}` is printed"), || read().contains(word));
        read()
    }
}

/// A tap for a guest without NAT, the last part of whose address is given.
pub(crate) fn tap(vm: &VmId, last: u8) -> TapCreate {
    TapCreate { vm: vm.clone(), address: Ipv4Addr::new(172, 16, 0, last), nat: false }
}

/// One of the host's tools by its absolute path.
pub(crate) fn find(program: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|folder| Path::new(folder).join(program));
    let found = folders.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{program}` is missing: `cargo xtask setup` installs it"))
}

/// Writes a program that VMs can be started with.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program that says that it runs, and goes on running.
pub(crate) fn sleeper(folder: &Path) -> PathBuf {
    script(folder, "sleeper", "echo running; exec sleep 600")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    ran.unwrap_or_else(|error| {
        panic!("{program}: {error}; sudo apt install util-linux iproute2 perl-base uidmap")
    })
}

/// The host's own links, without what changes by itself.
pub(crate) fn host_links() -> String {
    let output = run("ip", &["-json", "-details", "address", "show"]);
    let mut links: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    for address in links.iter_mut().filter_map(|link| link["addr_info"].as_array_mut()).flatten() {
        for changing in ["valid_life_time", "preferred_life_time"] {
            address.as_object_mut().unwrap().remove(changing);
        }
    }
    format!("{links:#?}")
}

/// Waits for something to become true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// The start time of a living process, read independently of the helper.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| fields[19].parse().unwrap())
}

/// The error that a call was answered with.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, ConnectionError>) -> RpcError {
    match outcome {
        Err(ConnectionError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn refusal_kind<T: std::fmt::Debug>(outcome: Result<T, ConnectionError>) -> ErrorKind {
    refusal(outcome).kind
}
