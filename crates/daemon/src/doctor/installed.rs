//! The installed system: that what root made of it is still root's, and its sockets the owner's.

use super::{pass, row};
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};
use banger_system::{INSTALL, Install, RESTART, ROOT_SOCKET, SOCKET, trust};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const AGAIN: &str = "sudo banger system install";

/// Of what the file says now, which need not be what a daemon has begun with.
pub(super) fn rows(begun_with: &Install) -> Vec<DoctorRow> {
    let now = match Install::read() {
        Ok(Some(now)) => now,
        Ok(None) => {
            return vec![row(
                Verdict::Fail,
                "installation",
                format!("{INSTALL} does not exist"),
                Some(AGAIN),
            )];
        }
        Err(error) => {
            return vec![row(Verdict::Fail, "installation", error.to_string(), Some(error.hint()))];
        }
    };
    let mut rows = of(&now);
    if now != *begun_with {
        let finding = format!("{INSTALL} has changed since this daemon started");
        rows.push(row(Verdict::Warn, "installation in force", finding, Some(RESTART)));
    }
    rows
}

fn of(install: &Install) -> Vec<DoctorRow> {
    let mut rows = vec![file(install), programs(install), jailer(install), vm_uids(install)];
    for (subject, path) in [("socket of the daemon", SOCKET), ("socket of the helper", ROOT_SOCKET)] {
        let found = std::fs::symlink_metadata(path).map(|found| (found.uid(), found.mode() & 0o7777));
        rows.push(socket(subject, path, found.ok(), install.owner.uid));
    }
    rows
}

fn file(install: &Install) -> DoctorRow {
    let subject = "installation";
    let found = format!("version {} for {}, in {INSTALL}", install.version, install.owner.name);
    if install.version == banger_protocol::VERSION {
        return pass(subject, found);
    }
    let finding = format!("{found}; this daemon is version {}", banger_protocol::VERSION);
    row(Verdict::Fail, subject, finding, Some(AGAIN))
}

/// What root runs, root alone may change.
fn programs(install: &Install) -> DoctorRow {
    let subject = "installed programs";
    let ours = ["bangerd", "bangerd-root", "banger-vsock-agent"].map(|name| install.programs.join(name));
    let settings = &install.settings;
    let named =
        [&settings.qemu, &settings.vsock_backend, &settings.firecracker, &settings.nft, &install.jailer];
    let paths = ours.into_iter().chain(named.into_iter().flatten().map(PathBuf::from));
    let open: BTreeSet<String> =
        paths.filter_map(|path| trust::check(&path).err()).map(|error| error.to_string()).collect();
    if open.is_empty() {
        return pass(subject, "writable by root only");
    }
    let hint =
        "give them and their parent directories to root, with mode 0755, then `sudo banger system install`";
    row(Verdict::Fail, subject, open.into_iter().collect::<Vec<_>>().join("; "), Some(hint))
}

fn jailer(install: &Install) -> DoctorRow {
    let subject = "jailer";
    match (&install.jailer, &install.settings.firecracker) {
        (Some(path), _) if install.jailed => pass(subject, format!("{path}; Firecracker runs under it")),
        (_, None) => pass(subject, "no Firecracker is installed"),
        (Some(_), _) => row(
            Verdict::Warn,
            subject,
            "off: Firecracker runs without it",
            Some("sudo banger system install --jailer"),
        ),
        (None, _) => {
            let hint = "put `jailer` from the Firecracker release next to firecracker, then `sudo banger system install`";
            row(Verdict::Warn, subject, "not installed: Firecracker runs without it", Some(hint))
        }
    }
}

/// Somebody may have got one of them since it was installed.
fn vm_uids(install: &Install) -> DoctorRow {
    let subject = "users of VMs";
    match install.vm_uids.are_nobodys() {
        Ok(()) => pass(subject, format!("{}, not used by anyone else", install.vm_uids)),
        Err(error) => row(
            Verdict::Fail,
            subject,
            error.to_string(),
            Some("sudo banger system install --vm-uids FIRST-LAST"),
        ),
    }
}

/// Whose a socket is, and who may use it. Pure.
fn socket(subject: &str, path: impl AsRef<Path>, found: Option<(u32, u32)>, owner: u32) -> DoctorRow {
    let path = path.as_ref().display();
    match found {
        Some((uid, 0o600)) if uid == owner => pass(subject, format!("{path}, accessible to the owner only")),
        Some((uid, mode)) => {
            let finding =
                format!("{path} belongs to uid {uid} with mode {mode:o}; only the owner should have access");
            row(Verdict::Fail, subject, finding, Some(AGAIN))
        }
        None => row(Verdict::Fail, subject, format!("{path} does not exist"), Some(RESTART)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_anybody_else_may_use_fails() {
        for (found, verdict) in [
            (Some((1000, 0o600)), Verdict::Pass),
            (Some((0, 0o600)), Verdict::Fail),
            (Some((1000, 0o666)), Verdict::Fail),
            (Some((1000, 0o660)), Verdict::Fail),
            (None, Verdict::Fail),
        ] {
            assert_eq!(socket("socket", "/run/s", found, 1000).verdict, verdict, "{found:?}");
        }
    }
}
