//! Starting one of a VM's programs.
//!
//! Everything that can be refused is refused before the fork. The child waits until its start time is known, so
//! that the answer names exactly the process that was started, and an exec that fails is an error here.

use super::files::{self, Files};
use super::folder::{Folder, FolderError, Whose};
use super::jailed::{self, Plan};
use crate::confine::rules::Rules;
use crate::confine::vm_uid;
use crate::disks::{self, DiskError};
use crate::inventory::{self, KnownBy, LookError};
use crate::owned_file::NotOwned;
use crate::scope::{Limits, ScopeError};
use crate::snapshot::SnapshotError;
use crate::sys::claim;
use crate::sys::jail::Jail;
use crate::sys::root::Root;
use crate::sys::spawn::{self, Launch, LaunchError, Surroundings};
use crate::{Helper, confine, firecracker, proc, qemu, scope, tap};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    CONSOLE_LOG, FIRECRACKER_LOG, FIRECRACKER_METRICS, FirecrackerSpec, ProcessIdentity, ProcessStart,
    Program, QemuSpec, Role, VMM_EVENTS, VMM_GREETING, VMM_LOG,
};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{program} was not started: it is not installed")]
    NotInstalled { program: &'static str, hint: &'static str },
    #[error("{program} was not started: {expected} descriptors belong to it and {got} came")]
    Descriptors { program: &'static str, expected: usize, got: usize },
    #[error("QEMU was not started")]
    Spec(#[source] qemu::SpecError),
    #[error("{program} was not started")]
    Folder {
        program: &'static str,
        #[source]
        source: FolderError,
    },
    #[error("Firecracker was not started")]
    Disks(#[source] DiskError),
    #[error("Firecracker was not started: a shared disk may not be read by all users, as which VMs run")]
    ClosedDisk,
    #[error(
        "Firecracker was not started: a block device of the host's is given to it by its jailer, which is off"
    )]
    NoJailer,
    #[error("Firecracker was not started")]
    Given(#[source] NotOwned),
    #[error("the VMM was not started")]
    Snapshot(#[source] SnapshotError),
    #[error("{program} was not started")]
    Scope {
        program: &'static str,
        #[source]
        source: ScopeError,
    },
    #[error("QEMU was not started")]
    Tap(#[source] tap::TapError),
    #[error("{program} was not started: it was not found out whether it runs")]
    Look {
        program: &'static str,
        #[source]
        source: LookError,
    },
    #[error("{program} was not started: a process that is no longer found still has the VM's {VMM_LOG} open")]
    Claimed { program: &'static str },
    #[error("{program} was not started: its confinement was not created")]
    Confine {
        program: &'static str,
        #[source]
        source: landlock::RulesetError,
    },
    #[error("{program} was not started: {what}")]
    Prepare {
        program: &'static str,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path} was not started")]
    Launch {
        path: String,
        #[source]
        source: LaunchError,
    },
}

impl StartError {
    pub(crate) fn answer(&self) -> RpcError {
        let kind = match self {
            Self::NotInstalled { .. } | Self::NoJailer => ErrorKind::Unavailable,
            Self::Given(source) => source.answer().kind,
            Self::Snapshot(source) => source.answer().kind,
            Self::Descriptors { .. } | Self::Spec(_) | Self::Disks(_) => ErrorKind::BadRequest,
            Self::ClosedDisk
            | Self::Claimed { .. }
            | Self::Folder { source: FolderError::NotAFolder | FolderError::NotOrdinary { .. }, .. } => {
                ErrorKind::Refused
            }
            Self::Tap(source) => source.answer().kind,
            _ => ErrorKind::OperationFailed,
        };
        let answer = RpcError::from_error(kind, self);
        match self {
            Self::NotInstalled { hint, .. } => answer.with_hint(*hint),
            Self::Tap(source) => RpcError { hint: source.answer().hint, ..answer },
            Self::Claimed { .. } => answer.with_hint(
                "it may be ending: try again; else `fuser -v` on that file names it, and it has to end first",
            ),
            Self::ClosedDisk => answer.with_hint("run `chmod 0644` on the image files"),
            Self::Launch { path, source } if source.is_forbidden() => {
                answer.with_hint(format!("VMs run as separate users: `chmod a+rx {path}`"))
            }
            _ => answer,
        }
    }
}

/// Starts a program of a VM, or names the one of that role that runs already.
pub(crate) fn start(
    helper: &Helper,
    request: ProcessStart,
    descriptors: Vec<OwnedFd>,
) -> Result<ProcessIdentity, StartError> {
    let ProcessStart { vm, program } = request;
    let (name, path) = find(helper, &program)?;
    let (expected, disks) = match &program {
        Program::VsockBackend => (1, &[][..]),
        Program::Qemu(spec) => {
            qemu::check(spec).map_err(StartError::Spec)?;
            (3 + disks::descriptors(&spec.disks), spec.disks.as_slice())
        }
        Program::Firecracker(spec) => {
            disks::check(&spec.disks).map_err(StartError::Disks)?;
            (3 + disks::descriptors(&spec.disks), spec.disks.as_slice())
        }
    };
    if descriptors.len() != expected {
        return Err(StartError::Descriptors { program: name, expected, got: descriptors.len() });
    }
    let (folder, given) = descriptors.split_first().expect("at least the folder is expected");
    let uid = helper.uid_of(&vm);
    let former = helper.former_uids_of(&vm);
    let whose = Whose { owner: helper.station.owner(), uid, former: &former };
    let in_folder = |source| StartError::Folder { program: name, source };
    let folder = Folder::new(folder.as_fd(), whose).map_err(in_folder)?;

    let _turn = helper.turns.take(&vm);
    let log = |name| folder.open_log(name).map_err(in_folder);
    let stderr = log(VMM_LOG)?;
    // Looking at every process of the host costs milliseconds. Each of ours has this log open, and with it the claim,
    // for as long as it lives: where nobody has claimed, nobody runs.
    let claimed = claim::take(stderr.as_fd(), place_of(program.role())).ok();
    if claimed != Some(true) {
        let running = inventory::processes_of(&vm, helper.station.known_by())
            .map_err(|source| StartError::Look { program: name, source })?;
        if let Some(found) = running.iter().find(|process| process.role == program.role()) {
            return Ok(found.process);
        }
    }
    // Threads of one that has ended, or one in namespaces that were lost: two at one time would ruin the disks.
    if claimed == Some(false) {
        return Err(StartError::Claimed { program: name });
    }
    let anew = |name, content| folder.make_anew(name, content).map_err(in_folder);
    match program {
        Program::VsockBackend => {}
        // By which it tells of its machine's end.
        Program::Qemu(_) => {
            anew(VMM_GREETING, qemu::GREETING)?;
            anew(VMM_EVENTS, &[])?;
        }
        // It writes from the beginning of the file: the end of a former log would stay the end.
        Program::Firecracker(_) => {
            anew(FIRECRACKER_LOG, &[])?;
            anew(FIRECRACKER_METRICS, &[])?;
        }
    }
    folder.hand_over(disks).map_err(in_folder)?;
    let owner = helper.station.owner();
    let limits = (helper.station.known_by() == KnownBy::Scope).then(|| limits_of(&program));
    let umask = owner.umask();
    if let (Program::Firecracker(spec), Some(jailer)) = (&program, helper.station.jailer()) {
        folder.remove_sockets().map_err(in_folder)?;
        let real = std::fs::canonicalize(path);
        let real = real.map_err(|source| StartError::Prepare {
            program: name,
            what: "its file was not found",
            source,
        })?;
        let uids = [owner.uid, vm_uid(&vm, helper.station.vm_uids())];
        let Plan { jail, arguments } = jailed::plan(&vm, &real, &folder, &spec.disks, given, uids)?;
        let (stdout, files) = (log(CONSOLE_LOG)?, Files::default());
        let around = Around::Jail(&jail);
        let start = Start {
            vm,
            program: &program,
            name,
            path: jailer,
            arguments,
            folder,
            stdout,
            stderr,
            files,
            uid,
            umask,
            limits,
        };
        return launch(&start, around);
    }
    let (arguments, files, stdout) = match &program {
        Program::VsockBackend => {
            folder.remove_sockets().map_err(in_folder)?;
            (qemu::vsock_backend_arguments(), Files::default(), log(VMM_LOG)?)
        }
        Program::Qemu(spec) => (qemu::arguments(spec), files::of_qemu(&vm, spec, given, uid)?, log(VMM_LOG)?),
        Program::Firecracker(spec) => {
            folder.remove_sockets().map_err(in_folder)?;
            // The guest's console.
            let stdout = log(CONSOLE_LOG)?;
            (with_id(&vm), files::of_firecracker(spec, given, uid)?, stdout)
        }
    };
    let start = Start {
        vm,
        program: &program,
        name,
        path,
        arguments,
        folder,
        stdout,
        stderr,
        files,
        uid,
        umask,
        limits,
    };
    confined(&start)
}

fn with_id(vm: &VmId) -> Vec<String> {
    let id = ["--id", vm.as_str()].map(str::to_owned);
    id.into_iter().chain(firecracker::arguments()).collect()
}

fn limits_of(program: &Program) -> Limits {
    match program {
        Program::VsockBackend => Limits::VSOCK_BACKEND,
        Program::Qemu(QemuSpec { vcpu, memory, .. })
        | Program::Firecracker(FirecrackerSpec { vcpu, memory, .. }) => {
            Limits::of_machine(*vcpu, memory.as_bytes())
        }
    }
}

/// The byte of the log that a role's process claims.
const fn place_of(role: Role) -> u8 {
    match role {
        Role::Vmm => 0,
        Role::VsockBackend => 1,
    }
}

/// What is known when everything has been looked at.
struct Start<'a> {
    vm: VmId,
    program: &'a Program,
    name: &'static str,
    path: &'a str,
    arguments: Vec<String>,
    folder: Folder<'a>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    files: Files<'a>,
    uid: Option<u32>,
    umask: u32,
    /// Those of its scope, where systemd makes one.
    limits: Option<Limits>,
}

/// Confined by ourselves.
fn confined(start: &Start<'_>) -> Result<ProcessIdentity, StartError> {
    let Start { program, name, path, folder, files, uid, .. } = start;
    let failed = |what| move |source| StartError::Prepare { program: name, what, source };
    // In its own root there are no links but the system's.
    let real = std::fs::canonicalize(path).map_err(failed("its file was not found"))?;
    let reopened = files.reopened();
    let reach = confine::Reach {
        program: &real,
        folder: folder.descriptor(),
        shared: &reopened,
        taps: matches!(program, Program::Firecracker(_)),
    };
    let root = confine::root::of(&reach).map_err(failed("its root directory was not planned"))?;
    let rules = confine::rules::of(&reach).map_err(|source| StartError::Confine { program: name, source })?;
    let groups: Vec<_> = confine::kvm_group().into_iter().collect();
    launch(
        start,
        Around::Own { root: &root, rules, identity: uid.map(|uid| (uid, groups.as_slice())), real: &real },
    )
}

/// What is put around a process.
enum Around<'a> {
    Own {
        root: &'a Root,
        rules: Rules,
        identity: Option<(u32, &'a [libc::gid_t])>,
        real: &'a Path,
    },
    /// For the jailer, who does the rest.
    Jail(&'a Jail),
}

fn launch(start: &Start<'_>, around: Around<'_>) -> Result<ProcessIdentity, StartError> {
    let Start { vm, program, name, path, arguments, stdout, stderr, files, umask, limits, .. } = start;
    let failed = |what| move |source| StartError::Prepare { program: name, what, source };
    let text =
        |text: &str| CString::new(text).map_err(|error| failed("an argument has a NUL byte")(error.into()));

    let words = std::iter::once(*path).chain(arguments.iter().map(String::as_str));
    let arguments = words.map(text).collect::<Result<Vec<_>, _>>()?;
    let role = program.role();
    let environment = [
        text(&format!("{}={vm}", proc::VM_VARIABLE))?,
        text(&format!("{}={}", proc::ROLE_VARIABLE, proc::role_word(role)))?,
    ];
    let stdin = File::open("/dev/null").map_err(failed("/dev/null cannot be opened"))?;
    let descriptors: Vec<_> = files.held.iter().map(AsFd::as_fd).collect();
    let unconfined = |source| StartError::Confine { program: name, source };
    let (executable, landlock, surroundings) = match &around {
        Around::Jail(jail) => (text(path)?, None, Surroundings::Jail(jail)),
        Around::Own { root, rules, identity, real } => {
            let landlock = rules.descriptor().map_err(failed("its rules cannot be handed over"))?;
            if landlock.is_none() {
                tracing::warn!(
                    program = name,
                    "this kernel has no landlock, the process is confined without it"
                );
            }
            let executable = CString::new(real.as_os_str().as_bytes());
            let executable = executable.map_err(|error| failed("its path has a NUL byte")(error.into()))?;
            (executable, landlock, Surroundings::Own { root, identity: *identity })
        }
    };

    let waiting = spawn::fork(&Launch {
        program: &executable,
        arguments: &arguments,
        environment: &environment,
        surroundings,
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        descriptors: &descriptors,
        landlock: landlock.as_ref().map(AsFd::as_fd),
        umask: *umask,
    })
    .map_err(failed("no process was made, alone in a pid namespace"))?;
    let pid = waiting.pid;
    let lost = |error| failed("its process was lost")(error);
    let start_time = proc::start_time(pid).ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?;
    // Open until the process has it for good: while nobody has, the kernel may forget it and with it the rule.
    let itself = File::open(format!("/proc/{pid}")).map_err(lost)?;
    if let Around::Own { rules, .. } = around {
        rules.add_itself(itself.as_fd()).map_err(unconfined)?;
    }
    if let Some(limits) = limits {
        scope::enclose(vm, role, pid, *limits)
            .map_err(|source| StartError::Scope { program: name, source })?;
    }
    waiting.release().map_err(|source| StartError::Launch { path: (*path).to_owned(), source })?;
    tracing::info!(program = name, pid, start_time, "started");
    Ok(ProcessIdentity { pid, start_time })
}

/// The program's name and the path it has on this host.
fn find<'a>(helper: &'a Helper, program: &Program) -> Result<(&'static str, &'a str), StartError> {
    let (name, path, hint) = match program {
        Program::VsockBackend => (
            "vhost-device-vsock",
            &helper.settings.vsock_backend,
            "cargo install vhost-device-vsock --version 0.3.0",
        ),
        Program::Firecracker(_) => (
            "Firecracker",
            &helper.settings.firecracker,
            "put `firecracker` into the PATH, or use QEMU: `vmm = \"qemu\"` in config.toml",
        ),
        Program::Qemu(_) => (
            "QEMU",
            &helper.settings.qemu,
            "Debian: sudo apt install qemu-system-x86 · Fedora: sudo dnf install qemu-system-x86-core · \
             Arch: sudo pacman -S qemu-system-x86",
        ),
    };
    let path = path.as_deref().ok_or(StartError::NotInstalled { program: name, hint })?;
    Ok((name, path))
}
