//! Starting one of a VM's programs.
//!
//! Everything that can be refused is refused before the fork. The child waits until its start time is known, so
//! that the answer names exactly the process that was started, and an exec that fails is an error here.

use super::folder::{Folder, FolderError};
use crate::inventory::{self, LookError};
use crate::sys::claim;
use crate::sys::spawn::{self, Launch, LaunchError};
use crate::{Helper, confine, proc, qemu, tap};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{ProcessIdentity, ProcessStart, Program, QemuSpec, Role};
use banger_protocol::wire::{ErrorKind, RpcError};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::PoisonError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{program} was not started: there is none on this host")]
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
    #[error("QEMU was not started")]
    Tap(#[source] tap::TapError),
    #[error("{program} was not started: it was not found out whether it runs")]
    Look {
        program: &'static str,
        #[source]
        source: LookError,
    },
    #[error("{program} was not started: its confinement was not made")]
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
            Self::NotInstalled { .. } => ErrorKind::Unavailable,
            Self::Descriptors { .. } | Self::Spec(_) => ErrorKind::BadRequest,
            Self::Folder { source: FolderError::NotAFolder | FolderError::NotOrdinary { .. }, .. } => {
                ErrorKind::Refused
            }
            Self::Tap(source) => source.answer().kind,
            _ => ErrorKind::OperationFailed,
        };
        let answer = RpcError::from_error(kind, self);
        match self {
            Self::NotInstalled { hint, .. } => answer.with_hint(*hint),
            Self::Tap(source) => RpcError { hint: source.answer().hint, ..answer },
            Self::Launch { path, source } if source.source.kind() == io::ErrorKind::PermissionDenied => {
                answer.with_hint(format!(
                    "VMs run as users of their own: {path} and the folders above it must be open to all"
                ))
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
            (3 + qemu::descriptor_disks(spec), spec.disks.as_slice())
        }
    };
    if descriptors.len() != expected {
        return Err(StartError::Descriptors { program: name, expected, got: descriptors.len() });
    }
    let (folder, files) = descriptors.split_first().expect("at least the folder is expected");
    let uid = helper.own_uids.then(|| confine::vm_uid(&vm));
    let in_folder = |source| StartError::Folder { program: name, source };
    let folder = Folder::new(folder.as_fd(), uid).map_err(in_folder)?;

    let _one_at_a_time = helper.processes.lock().unwrap_or_else(PoisonError::into_inner);
    let log = folder.open_log().map_err(in_folder)?;
    // Looking at every process of the host costs milliseconds. Each of ours has its log open, and with it the claim,
    // for as long as it lives: where nobody has claimed, nobody runs.
    if !claim::take(log.as_fd(), place_of(program.role())).unwrap_or(false) {
        let running =
            inventory::processes_of(&vm).map_err(|source| StartError::Look { program: name, source })?;
        if let Some(found) = running.iter().find(|process| process.role == program.role()) {
            return Ok(found.process);
        }
    }
    folder.hand_over(disks).map_err(in_folder)?;
    let (arguments, files) = match &program {
        Program::VsockBackend => {
            folder.remove_sockets().map_err(in_folder)?;
            (qemu::vsock_backend_arguments(), Vec::new())
        }
        Program::Qemu(spec) => (qemu::arguments(spec), qemu_files(&vm, spec, files, uid)?),
    };
    launch(&Start { vm, program: &program, name, path, arguments, folder, log, files, uid })
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
    log: OwnedFd,
    /// In the order of their numbers in the program, from 3.
    files: Vec<Held<'a>>,
    uid: Option<u32>,
}

/// A descriptor for the program: one that came with the request, or one made here.
enum Held<'a> {
    Lent(BorrowedFd<'a>),
    Own(OwnedFd),
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lent(descriptor) => *descriptor,
            Self::Own(descriptor) => descriptor.as_fd(),
        }
    }
}

fn launch(start: &Start<'_>) -> Result<ProcessIdentity, StartError> {
    let Start { vm, program, name, path, arguments, folder, log, files, uid } = start;
    let failed = |what| move |source| StartError::Prepare { program: name, what, source };
    let text =
        |text: &str| CString::new(text).map_err(|error| failed("an argument has a NUL byte")(error.into()));

    let executable = text(path)?;
    let words = std::iter::once(*path).chain(arguments.iter().map(String::as_str));
    let arguments = words.map(text).collect::<Result<Vec<_>, _>>()?;
    let role = proc::role_word(program.role());
    let environment =
        [text(&format!("{}={vm}", proc::VM_VARIABLE))?, text(&format!("{}={role}", proc::ROLE_VARIABLE))?];
    let program_file = rustix::fs::open(*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("its file cannot be opened")(errno.into()))?;
    let stdin = File::open("/dev/null").map_err(failed("/dev/null cannot be opened"))?;
    let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    // The kernel and the initrd are opened again by their numbers, so they need a rule.
    let reopened: Vec<_> =
        files.iter().take(2).filter(|file| matches!(file, Held::Lent(_))).map(AsFd::as_fd).collect();
    let landlock = confine::files(Path::new(path), folder.descriptor(), &reopened)
        .map_err(|source| StartError::Confine { program: name, source })?;
    if landlock.is_none() {
        tracing::warn!(program = name, "this kernel has no landlock, the process is confined without it");
    }
    let groups: Vec<_> = confine::kvm_group().into_iter().collect();

    let waiting = spawn::fork(&Launch {
        program: &executable,
        program_file: program_file.as_fd(),
        arguments: &arguments,
        environment: &environment,
        folder: folder.descriptor(),
        stdin: stdin.as_fd(),
        output: log.as_fd(),
        descriptors: &descriptors,
        identity: uid.map(|uid| (uid, groups.as_slice())),
        landlock: landlock.as_ref().map(AsFd::as_fd),
    })
    .map_err(failed("no process was made"))?;
    let pid = waiting.pid;
    let start_time = proc::start_time(pid)
        .ok_or_else(|| failed("its process was lost")(io::ErrorKind::NotFound.into()))?;
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

/// Kernel, initrd, tap and shared disks in the order of [`qemu`]'s numbers.
fn qemu_files<'a>(
    vm: &VmId,
    spec: &QemuSpec,
    given: &'a [OwnedFd],
    uid: Option<u32>,
) -> Result<Vec<Held<'a>>, StartError> {
    let unreadable =
        |source| StartError::Prepare { program: "QEMU", what: "its kernel or initrd cannot be read", source };
    let (boot, disks) = given.split_at(2);
    let mut files = Vec::with_capacity(3 + qemu::descriptor_disks(spec));
    for file in boot {
        files.push(if uid.is_some() {
            readable_by_all(file).map_err(unreadable)?
        } else {
            Held::Lent(file.as_fd())
        });
    }
    files.push(Held::Own(tap::open(vm).map_err(StartError::Tap)?.into()));
    files.extend(disks.iter().map(|disk| Held::Lent(disk.as_fd())));
    Ok(files)
}

/// A file that any user can open by its number in `/proc/self/fd`: the file itself when its mode allows that,
/// else a copy in memory.
fn readable_by_all(file: &OwnedFd) -> io::Result<Held<'_>> {
    if Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode).contains(Mode::ROTH) {
        return Ok(Held::Lent(file.as_fd()));
    }
    let copy = rustix::fs::memfd_create("boot", MemfdFlags::CLOEXEC)?;
    let length = rustix::fs::fstat(file)?.st_size.unsigned_abs();
    let mut from = 0;
    while from < length {
        let left = usize::try_from(length - from).unwrap_or(usize::MAX);
        if rustix::fs::sendfile(&copy, file, Some(&mut from), left)? == 0 {
            break;
        }
    }
    // Opened again for reading only: what the VMM holds cannot change the copy.
    let number = std::os::fd::AsRawFd::as_raw_fd(&copy);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(Held::Own(rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty())?))
}
