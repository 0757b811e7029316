//! Starting a program with nothing of the helper's but what it is given.
//!
//! `std::process::Command` is not used: it moves descriptors to fixed numbers only by hand, over its own, and
//! waits for a child whose exec failed, which panics where the kernel collects children (SIGCHLD ignored).
//!
//! Between fork and exec the child of a threaded process may call only async-signal-safe functions
//! (signal-safety(7)): everything it needs is made before, and it allocates nothing.
#![expect(unsafe_code, reason = "fork(2), exec(2) and what lies between them")]

use super::jail::{self, Jail};
use super::root::{self, Root};
use std::ffi::{CStr, CString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A program and everything it will have.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// By a path in its own root.
    pub(crate) program: &'a CStr,
    /// Its own name first.
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    pub(crate) surroundings: Surroundings<'a>,
    pub(crate) stdin: BorrowedFd<'a>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// Become its descriptors 3, 4 and so on.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
    pub(crate) landlock: Option<BorrowedFd<'a>>,
    /// What the files that it makes are not open to.
    pub(crate) umask: libc::mode_t,
}

/// What there is for a program, and with which rights it comes there.
#[derive(Debug)]
pub(crate) enum Surroundings<'a> {
    /// A root of its own, with the folder that becomes its working directory, and no rights at all.
    Own {
        root: &'a Root,
        /// The user and group id it runs as, with these supplementary groups; the helper's own when absent.
        identity: Option<(u32, &'a [libc::gid_t])>,
    },
    /// The host's root, and a jail in it for the jailer, who needs rights to finish it and then drops them.
    Jail(&'a Jail),
}

/// What Firecracker's jailer does: it gives files away (0), passes modes (1, 3), changes its user (6, 7), changes its
/// root (18), mounts (21) and makes devices (27), by the numbers of `linux/capability.h`.
const JAILERS: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 18 | 1 << 21 | 1 << 27;

/// A child that exists and waits for permission to become the program.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) pid: u32,
    control: UnixStream,
}

/// What the child did not get done.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub(crate) struct LaunchError {
    pub(crate) step: &'static str,
    #[source]
    pub(crate) source: io::Error,
}

impl LaunchError {
    /// Whether all is well except that the program may not be run.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.step == STEPS[Step::Execute as usize] && self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// What the child does, in this order; the number crosses when one fails.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Step {
    Session,
    Mounts,
    Root,
    Folder,
    Entry,
    Descriptors,
    CoreDumps,
    Capabilities,
    Identity,
    Privileges,
    Landlock,
    Execute,
}

/// The words for them.
const STEPS: [&str; 12] = [
    "it got no session of its own",
    "it got no mounts and no IPC of its own",
    "its root directory was not created",
    "its directory was not found where it was, among the mounts of the helper",
    "its root directory was not entered",
    "its descriptors were not put in place",
    "its core dumps were not turned off",
    "its capabilities were not dropped",
    "its user id was not changed",
    "its privileges were not frozen (no_new_privs)",
    "it was not confined (landlock)",
    "it was not executed",
];

/// Where descriptors are put out of the way of the numbers they are going to have.
const ASIDE: RawFd = 256;

/// Forks a child, which waits.
pub(crate) fn fork(launch: &Launch<'_>) -> io::Result<Waiting> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let usual = [launch.stdin, launch.stdout, launch.stderr];
    let numbered: Vec<RawFd> = usual.iter().chain(launch.descriptors).map(|fd| fd.as_raw_fd()).collect();
    let forking = making_a_child();
    let (control, childs_end) = UnixStream::pair()?;
    let plan = Plan {
        launch,
        arguments: pointers(launch.arguments),
        environment: pointers(launch.environment),
        aside: vec![0; numbered.len()],
        numbered,
        control: childs_end.as_raw_fd(),
        helpers_end: control.as_raw_fd(),
    };
    // SAFETY: the child only runs `become_program`, which is async-signal-safe and does not return; the strings
    // that the plan points to live in the caller's frame, of which the child has a copy.
    let forked = match unsafe { clone_alone() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above; `pointers` ended both arrays with NULL.
        0 => unsafe { become_program(plan) },
        pid => Ok(Waiting { pid: u32::try_from(pid).unwrap_or_default(), control }),
    };
    drop((childs_end, forking));
    forked
}

/// Forks a child that is the first process of a pid namespace: it can neither name nor signal anybody else.
///
/// # Safety
/// As fork(2). The C library does not know of this one, so the child must not use what counts threads in it.
unsafe fn clone_alone() -> libc::c_long {
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without a stack of its own and without CLONE_VM the child has a copy of this one, clone(2).
    unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) }
}

/// Held while a child's conversation is made and the child with it.
///
/// A child has copies of what was open, until its exec: of other conversations too, whose ends it keeps from being
/// seen. In this way it has the helper's end of older ones and none of younger ones, so no two children can wait
/// for each other when the helper is gone; and it has nobody's child's end, so nobody waits for it to execute.
static FORKING: RwLock<()> = RwLock::new(());

/// To be held while a child is made by others than [`fork`].
pub(crate) fn making_a_child() -> RwLockWriteGuard<'static, ()> {
    FORKING.write().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this is held no child is made: what is opened and closed meanwhile, nobody has a copy of.
pub(crate) fn without_children() -> RwLockReadGuard<'static, ()> {
    FORKING.read().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Lets the child become its program, and waits until it has or has failed to.
    pub(crate) fn release(mut self) -> Result<(), LaunchError> {
        let lost = |source| LaunchError { step: "it was lost before it was executed", source };
        self.control.write_all(&[0]).map_err(lost)?;
        let mut failure = Vec::new();
        // The end of the stream is the successful exec, which closed the child's end.
        self.control.read_to_end(&mut failure).map_err(lost)?;
        match failure.as_slice() {
            [] => Ok(()),
            [step, errno @ ..] => {
                let step = STEPS.get(usize::from(*step)).copied().unwrap_or("it ended early");
                let errno = errno.try_into().map_or(libc::EIO, i32::from_ne_bytes);
                Err(LaunchError { step, source: io::Error::from_raw_os_error(errno) })
            }
        }
    }
}

/// What the child was made with, in the form that it can use.
struct Plan<'a> {
    launch: &'a Launch<'a>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// The descriptors in the order of the numbers they get, from 0.
    numbered: Vec<RawFd>,
    /// As many places, to hold where they are meanwhile.
    aside: Vec<RawFd>,
    /// Both ends of the conversation with the helper.
    control: RawFd,
    helpers_end: RawFd,
}

/// The child: waits, then becomes the program or says at which step it did not.
///
/// When the helper goes away instead, the read finds the end of the stream and the child ends.
///
/// # Safety
/// The plan's pointers end with NULL and point to C strings.
unsafe fn become_program(mut plan: Plan<'_>) -> ! {
    // SAFETY: system calls with valid arguments, none of which allocates or locks.
    unsafe {
        libc::close(plan.helpers_end);
        // Away from the numbers that are about to be given out.
        plan.control = libc::fcntl(plan.control, libc::F_DUPFD_CLOEXEC, ASIDE);
        let mut go = 0_u8;
        if libc::read(plan.control, (&raw mut go).cast(), 1) != 1 {
            libc::_exit(127);
        }
        let Failed(step) = match prepare(&mut plan) {
            Err(failed) => failed,
            Ok(()) => {
                let Plan { launch, arguments, environment, .. } = &plan;
                libc::execve(launch.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                Failed(Step::Execute)
            }
        };
        let mut report = [step as u8, 0, 0, 0, 0];
        report[1..].copy_from_slice(&(*libc::__errno_location()).to_ne_bytes());
        libc::write(plan.control, report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

/// A step whose reason is in `errno`.
pub(super) struct Failed(pub(super) Step);

pub(super) fn check(step: Step, outcome: libc::c_long) -> Result<(), Failed> {
    if outcome < 0 { Err(Failed(step)) } else { Ok(()) }
}

/// Everything between fork and exec, in the order of [`Step`].
///
/// # Safety
/// Only in a child of fork(2); async-signal-safe.
unsafe fn prepare(plan: &mut Plan<'_>) -> Result<(), Failed> {
    let launch = plan.launch;
    // SAFETY: system calls with valid arguments, none of which allocates or locks.
    unsafe {
        // What the helper ignores, a program would go on ignoring (execve(2)).
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        check(Step::Session, libc::setsid().into())?;

        match launch.surroundings {
            Surroundings::Own { root, .. } => root::enter(root)?,
            Surroundings::Jail(jail) => jail::make(jail)?,
        }
        libc::umask(launch.umask);
        // What is still needed afterwards goes out of the way of the numbers that are given out.
        let ruleset = match launch.landlock {
            Some(ruleset) => libc::fcntl(ruleset.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ASIDE),
            None => 0,
        };
        check(Step::Descriptors, ruleset.into())?;
        for (from, to) in plan.numbered.iter().zip(&mut plan.aside) {
            *to = libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, ASIDE);
            check(Step::Descriptors, (*to).into())?;
        }
        for (number, from) in (0..).zip(&plan.aside) {
            check(Step::Descriptors, libc::dup2(*from, number).into())?;
        }
        // The rest closes at exec. Its number fits: there are at most a few dozen.
        let rest = libc::c_long::try_from(plan.aside.len()).unwrap_or(3);
        let to_the_last = libc::c_long::from(libc::c_uint::MAX);
        let at_exec = libc::c_long::from(libc::CLOSE_RANGE_CLOEXEC);
        check(Step::Descriptors, libc::syscall(libc::SYS_close_range, rest, to_the_last, at_exec))?;

        // A core dump would hold the guest's memory.
        let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(Step::CoreDumps, libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing).into())?;

        match launch.surroundings {
            Surroundings::Jail(_) => check(Step::Capabilities, drop_bounding_set(JAILERS))?,
            Surroundings::Own { identity, .. } => {
                check(Step::Capabilities, drop_bounding_set(0))?;
                if let Some((id, groups)) = identity {
                    // Not by the C library, which would have the helper's other threads follow, nptl(7).
                    check(Step::Identity, libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
                    check(Step::Identity, libc::syscall(libc::SYS_setresgid, id, id, id))?;
                    check(Step::Identity, libc::syscall(libc::SYS_setresuid, id, id, id))?;
                }
                check(Step::Capabilities, drop_own_capabilities())?;
            }
        }
        check(Step::Privileges, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        if launch.landlock.is_some() {
            check(Step::Landlock, libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0))?;
        }
    }
    Ok(())
}

/// Empties the bounding set, but for the numbers whose bits are set in `kept`, and the ambient set: not even uid 0
/// gains another capability by exec.
///
/// # Safety
/// As [`prepare`].
unsafe fn drop_bounding_set(kept: u64) -> libc::c_long {
    // SAFETY: prctl(2) with numbers only.
    unsafe {
        for capability in 0..64 {
            if kept >> capability & 1 == 1 {
                continue;
            }
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 {
                // The first number that this kernel has no capability for.
                if *libc::__errno_location() == libc::EINVAL {
                    break;
                }
                return -1;
            }
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).into()
    }
}

/// Empties the effective, permitted and inheritable sets (capset(2), version 3).
///
/// # Safety
/// As [`prepare`].
unsafe fn drop_own_capabilities() -> libc::c_long {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: both arrays have the layout and length that version 3 reads.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }
}
