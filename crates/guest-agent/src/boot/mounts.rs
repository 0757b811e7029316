//! The file systems that are not on a disk.
//!
//! They are mounted the way systemd mounts them, so that systemd finds them there and leaves them alone.

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;
use std::path::Path;

/// Why something could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be mounted on {place}")]
pub(super) struct MountError {
    what: String,
    place: String,
    source: Errno,
}

const QUIET_FS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What every later step needs: devices, processes, the kernel's settings.
pub(super) fn first() -> Result<(), MountError> {
    on("devtmpfs", Path::new("/dev"), MountFlags::NOSUID, c"mode=0755")?;
    on("proc", Path::new("/proc"), QUIET_FS, c"")?;
    on("sysfs", Path::new("/sys"), QUIET_FS, c"")
}

/// The new root's `/run`: new at every boot, and where the agent lives.
pub(super) fn run(new_root: &Path) -> Result<(), MountError> {
    on(
        "tmpfs",
        &new_root.join("run"),
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=0755,size=20%,nr_inodes=800k",
    )
}

/// The unified hierarchy, before a service manager would choose: the agent gets a group of its own in it.
pub(super) fn control_groups() -> Result<(), MountError> {
    match on("cgroup2", Path::new("/sys/fs/cgroup"), QUIET_FS, c"nsdelegate,memory_recursiveprot") {
        // A kernel without control groups, or one too old for the option.
        Err(e) if e.source == Errno::NODEV => Ok(()),
        Err(e) if e.source == Errno::INVAL => on("cgroup2", Path::new("/sys/fs/cgroup"), QUIET_FS, c""),
        outcome => outcome,
    }
}

/// What a program may expect below `/dev` and no kernel provides.
pub(super) fn last() -> Result<(), MountError> {
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    on("devpts", Path::new("/dev/pts"), terminals, c"mode=620,ptmxmode=666,gid=5")?;
    on("tmpfs", Path::new("/dev/shm"), MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        // A link that is there already is as good.
        let _ = rustix::fs::symlinkat(target, CWD, link);
    }
    Ok(())
}

fn on(kind: &str, place: &Path, flags: MountFlags, options: &CStr) -> Result<(), MountError> {
    let failed = |source| MountError { what: kind.to_owned(), place: place.display().to_string(), source };
    match rustix::fs::mkdirat(CWD, place, 0o755.into()) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed(e)),
    }
    match mount(kind, place, kind, flags, Some(options)) {
        // The kernel may have mounted /dev itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(e) => Err(failed(e)),
    }
}
