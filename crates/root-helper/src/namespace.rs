//! The namespaces the helper lives in: its own users, network and mounts.
//!
//! ```text
//!              no VM alive                        a VM alive
//! ordinary     unshare, 0 → own uid               setns through the VM's process, unshare mounts
//! root         unshare, every uid to itself       setns through the VM's process, unshare mounts
//! ```
//!
//! Entering comes before the first thread. Whatever the host's firewall, bridges, routes and mounts are, they
//! are out of reach afterwards. A VM's process has mounts of its own again, with next to nothing in them
//! ([`crate::confine::root`]), so these are not entered. Namespaces end with the last process in them, so VMs keep them while the helper
//! is away.

use crate::{proc, sys};
use banger_protocol::root_api::ProcessIdentity;
use banger_system::VmUids;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{CapabilitySet, ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};
use std::io;
use std::os::fd::AsFd as _;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("no private namespaces were created")]
    Unshare(#[source] io::Error),
    #[error("no private namespaces were created: the user map was not written")]
    Map(#[source] io::Error),
    #[error("the private namespaces came without the right to use them (CAP_NET_ADMIN)")]
    Withheld,
    #[error("the namespaces of process {0} were not entered: it is not alive any more")]
    Gone(u32),
    #[error("the namespaces of process {pid} were not entered")]
    Join {
        pid: u32,
        #[source]
        source: io::Error,
    },
    #[error("the helper got no mounts of its own")]
    Mounts(#[source] io::Error),
}

impl NamespaceError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unshare(_) | Self::Map(_) => refusing_setting().or_else(|| Some(ENCLOSED.to_owned())),
            Self::Withheld => Some(apparmor_hint()),
            Self::Gone(_) | Self::Join { .. } | Self::Mounts(_) => None,
        }
    }
}

/// Enters the namespaces of a VM's living process, or makes new ones.
pub(crate) fn enter(join: Option<ProcessIdentity>) -> Result<(), NamespaceError> {
    match join {
        Some(process) => enter_those_of(process)?,
        None => make()?,
    }
    let held = rustix::thread::capabilities(None).map_err(|errno| NamespaceError::Unshare(errno.into()))?;
    if !held.effective.contains(CapabilitySet::NET_ADMIN) {
        return Err(NamespaceError::Withheld);
    }
    keep_mounts_to_ourselves()
}

/// For the installed helper, which stays in the host's own namespaces but for this one.
pub(crate) fn keep_mounts_apart() -> Result<(), NamespaceError> {
    sys::beside::unshare(UnshareFlags::NEWNS).map_err(NamespaceError::Mounts)?;
    keep_mounts_to_ourselves()
}

/// What is mounted here is nobody else's business; what the host mounts later is seen here too.
fn keep_mounts_to_ourselves() -> Result<(), NamespaceError> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|errno| NamespaceError::Mounts(errno.into()))
}

/// Whether VMs' processes can be given ids of their own here.
pub(crate) fn maps_vm_uids() -> bool {
    let maps = |map: &str| {
        let text = std::fs::read_to_string(format!("/proc/self/{map}")).unwrap_or_default();
        parse_map(&text).iter().any(|range| {
            let Range { inside, count, .. } = *range;
            inside <= VmUids::USUAL.first().into() && u64::from(VmUids::USUAL.last()) < inside + count
        })
    };
    maps("uid_map") && maps("gid_map")
}

fn make() -> Result<(), NamespaceError> {
    let unshare = || sys::beside::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS);
    if !rustix::process::geteuid().is_root() {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        unshare().map_err(NamespaceError::Unshare)?;
        // user_namespaces(7): who lacks CAP_SETGID outside gives up setgroups(2) before mapping a group.
        return std::fs::write("/proc/self/setgroups", "deny")
            .and_then(|()| std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
            .and_then(|()| std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")))
            .map_err(NamespaceError::Map);
    }
    // Mapping more than oneself takes a process that still has its rights outside.
    let own = std::process::id();
    let identity =
        |map: &str| std::fs::read_to_string(format!("/proc/self/{map}")).map(|text| identity_map(&text));
    let (uids, gids) = (
        identity("uid_map").map_err(NamespaceError::Map)?,
        identity("gid_map").map_err(NamespaceError::Map)?,
    );
    sys::beside::first_here_then_beside(unshare, || {
        std::fs::write(format!("/proc/{own}/uid_map"), &uids)?;
        std::fs::write(format!("/proc/{own}/gid_map"), &gids)
    })
    .map_err(NamespaceError::Unshare)
}

fn enter_those_of(process: ProcessIdentity) -> Result<(), NamespaceError> {
    let gone = NamespaceError::Gone(process.pid);
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Err(gone) };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Err(gone) };
    // The handle was taken first, so it is of the process whose start time this is.
    if proc::start_time(process.pid) != Some(process.start_time) {
        return Err(gone);
    }
    // Not its mounts, which have next to nothing in them.
    let kinds = ThreadNameSpaceType::USER | ThreadNameSpaceType::NETWORK;
    move_into_thread_name_spaces(handle.as_fd(), kinds)
        .map_err(|errno| NamespaceError::Join { pid: process.pid, source: errno.into() })?;
    sys::beside::unshare(UnshareFlags::NEWNS).map_err(NamespaceError::Mounts)
}

/// One line of a `uid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u64,
    count: u64,
}

fn parse_map(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse().ok());
        let (inside, _outside, count) = (fields.next()??, fields.next()??, fields.next()??);
        Some(Range { inside, count })
    };
    text.lines().filter_map(line).collect()
}

/// A map in which everybody who exists here is themselves.
fn identity_map(own: &str) -> String {
    parse_map(own).iter().map(|Range { inside, count }| format!("{inside} {inside} {count}\n")).collect()
}

/// The setting of this host that forbids user namespaces.
fn refusing_setting() -> Option<String> {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|found| found.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(
            "this host does not allow user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1"
                .to_owned(),
        );
    }
    for (kind, path) in [
        ("user", "/proc/sys/user/max_user_namespaces"),
        ("net", "/proc/sys/user/max_net_namespaces"),
        ("mnt", "/proc/sys/user/max_mnt_namespaces"),
    ] {
        if is(path, "0") {
            return Some(format!("this host allows none: sudo sysctl user.max_{kind}_namespaces=10000"));
        }
    }
    is(APPARMOR_SETTING, "1").then(apparmor_hint)
}

/// The kernel says EPERM in a chroot (unshare(2)), and so does the seccomp filter of common container engines.
const ENCLOSED: &str = "no setting of this host forbids them, so what this runs in does: a chroot never allows them, \
                        a container may with `docker run --security-opt seccomp=unconfined`";

const APPARMOR_SETTING: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

fn apparmor_hint() -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "bangerd-root".to_owned(), |path| path.display().to_string());
    format!(
        "AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns=1); \
         put these two lines into /etc/apparmor.d/bangerd-root, then \
         sudo apparmor_parser -r /etc/apparmor.d/bangerd-root\n\
         abi <abi/4.0>,\n\
         profile bangerd-root \"{program}\" flags=(unconfined) {{ userns, }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_the_whole_host_maps_everybody_to_themselves() {
        assert_eq!(identity_map("         0          0 4294967295\n"), "0 0 4294967295\n");
    }

    #[test]
    fn root_of_a_container_maps_whoever_exists_in_it() {
        assert_eq!(identity_map("0 100000 65536\n70000 1000 1\n"), "0 0 65536\n70000 70000 1\n");
        assert_eq!(identity_map("nonsense\n"), "");
    }
}
