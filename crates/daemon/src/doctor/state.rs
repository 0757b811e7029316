//! banger's own things: the daemon, its records, its files, and what is left of VMs that are gone.

use super::leftovers::Seen;
use super::{pass, row};
use crate::Services;
use crate::artefact::{self, Found};
use crate::paths::StateFolder;
use crate::station::Station;
use crate::store::{ImageRecord, KernelRecord, Store, VmRecord, set_aside_in};
use crate::vm::vmm::Host;
use crate::vm::{RootDiskWay, root_disk_way};
use banger_config::{Config, ConfigError};
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::size::ByteSize;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Below this a first image does not fit.
const LEAST_SPACE: u64 = 3 << 30;

/// A daemon that runs, and whether it knows what has changed since it started.
pub(super) fn daemon(services: &Services, read: &Result<Config, ConfigError>, host: &Host) -> DoctorRow {
    let subject = "daemon";
    if let Some(finding) = exposed(&services.station, &services.paths) {
        return row(
            Verdict::Fail,
            subject,
            finding,
            Some("run `banger daemon stop`; the next command recreates it"),
        );
    }
    let changed = match read {
        Ok(config) if *config != services.config => Some("the settings"),
        Ok(_) if *host != services.host => Some("this host"),
        Ok(_) | Err(_) => None,
    };
    let finding = format!("process {}, listening at {}", std::process::id(), services.socket.display());
    match changed {
        None => pass(subject, finding),
        Some(what) => {
            let hint = match services.station {
                Station::Local => {
                    "run `banger daemon stop`; the next command starts a new daemon, and VMs keep running"
                }
                Station::System(_) => "run `sudo banger system restart`; VMs keep running",
            };
            row(
                Verdict::Warn,
                subject,
                format!("{what} changed after process {} started", std::process::id()),
                Some(hint),
            )
        }
    }
}

/// None that could be asked.
pub(super) fn no_daemon(station: &Station, paths: &LocalPaths) -> DoctorRow {
    let subject = "daemon";
    if let Some(finding) = exposed(station, paths) {
        return row(Verdict::Fail, subject, finding, Some("run `chmod 700` on it, or remove it"));
    }
    if UnixStream::connect(&paths.socket).is_ok() {
        let hint = "`banger daemon stop`, then try again; VMs keep running";
        return row(Verdict::Warn, subject, "a daemon is listening but does not answer", Some(hint));
    }
    pass(subject, "not running; the next command that needs the daemon starts it")
}

/// What is open to others of what only its owner may reach. There need be nothing yet.
fn exposed(station: &Station, paths: &LocalPaths) -> Option<String> {
    let places: &[_] = match station {
        Station::Local => &[&paths.runtime, &paths.socket, &paths.state],
        // Its sockets are in folders of root's; there are rows about them.
        Station::System(_) => &[&paths.state],
    };
    let uid = rustix::process::geteuid().as_raw();
    places.iter().find_map(|path| {
        let found = std::fs::symlink_metadata(path).ok()?;
        let mode = found.permissions().mode() & 0o777;
        if found.uid() != uid {
            return Some(format!("{} belongs to uid {}", path.display(), found.uid()));
        }
        (mode & 0o077 != 0)
            .then(|| format!("{} is accessible to other users: its mode is {mode:03o}", path.display()))
    })
}

pub(super) fn rows(
    paths: &LocalPaths,
    config: &Config,
    devices: bool,
    daemon: Option<&Services>,
) -> Vec<DoctorRow> {
    let mut rows = vec![space(&paths.state)];
    // Without a state folder there is nothing yet, and none is made.
    let Some(state) = StateFolder::find(&paths.state) else {
        rows.push(pass("database", "none yet"));
        rows.extend(artefacts(config, &[], &[]));
        return rows;
    };
    let images: Found<ImageRecord> = artefact::look(&state.images());
    let kernels: Found<KernelRecord> = artefact::look(&state.kernels());
    let kernel = kernels.sound.iter().find(|kernel| kernel.name == config.default_kernel.value);
    // Made by the daemon when it first starts.
    let vms = Some(state.vms()).filter(|vms| vms.exists());
    let reflink = crate::clone::can_reflink(vms.as_deref().unwrap_or(state.path()));
    let way = root_disk_way(config.root_disk.value, devices, reflink, kernel);
    rows.push(root_disk(way));

    let seen = Seen::look(&state, daemon);
    let records = read_records(&state, daemon);
    rows.push(database(&records));
    rows.extend(set_aside_in(state.path()).iter().map(|path| database_set_aside(path)));
    let damaged = images.damaged.iter().chain(&kernels.damaged);
    rows.extend(damaged.map(|path| manifest_damaged(path)));
    rows.extend(artefacts(config, &images.sound, &kernels.sound));
    if let Ok(Some((vms, unreadable))) = &records {
        rows.push(leftovers(&seen.unowned(vms, unreadable), daemon.map(|services| &services.station)));
    }
    rows
}

fn space(state: &Path) -> DoctorRow {
    let subject = "disk";
    let there = state.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let free = found.f_bavail * found.f_frsize;
            let finding = format!("{} free at {}", ByteSize::bytes(free), there.display());
            if free < LEAST_SPACE {
                row(Verdict::Warn, subject, finding, Some("an image needs about 1 GiB: free some space"))
            } else {
                pass(subject, finding)
            }
        }
        Err(errno) => row(Verdict::Fail, subject, errno.to_string(), None),
    }
}

fn root_disk(way: RootDiskWay) -> DoctorRow {
    let subject = "root disks";
    match way {
        RootDiskWay::DmSnapshot => pass(
            subject,
            "dm-snapshot: changes are stored separately and combined with the image by this host",
        ),
        RootDiskWay::Reflink => pass(subject, "reflink: share blocks with the image"),
        RootDiskWay::GuestSnapshot => pass(
            subject,
            "guest-snapshot: changes are stored separately and combined with the image inside the guest",
        ),
        RootDiskWay::Copy => {
            let hint = "put the state directory on a file system with reflinks, such as btrfs or XFS";
            row(Verdict::Warn, subject, "copy: full copies of the image", Some(hint))
        }
    }
}

/// VMs, and ids of those that cannot be read. `None` without a database.
type Records = (Vec<VmRecord>, Vec<String>);

fn read_records(state: &StateFolder, daemon: Option<&Services>) -> Result<Option<Records>, String> {
    let chain = |error: &dyn std::error::Error| {
        std::iter::successors(Some(error), |e| e.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    };
    match daemon {
        Some(services) => services.store.vms().map(Some).map_err(|error| chain(&error)),
        None => {
            let store = Store::open_to_look(&state.database()).map_err(|error| chain(&error))?;
            store.map(|store| store.vms().map_err(|error| chain(&error))).transpose()
        }
    }
}

fn database(records: &Result<Option<Records>, String>) -> DoctorRow {
    let subject = "database";
    match records {
        Ok(None) => pass(subject, "none yet"),
        Ok(Some((vms, unreadable))) if unreadable.is_empty() => {
            pass(subject, format!("{} VMs recorded", vms.len()))
        }
        Ok(Some((_, unreadable))) => row(
            Verdict::Fail,
            subject,
            format!("records that cannot be read: {}", unreadable.join(", ")),
            Some("`banger vm delete ID` deletes such a VM; all others work"),
        ),
        Err(error) => row(
            Verdict::Fail,
            subject,
            error.as_str(),
            Some(
                "the next command sets the damaged database aside and recovers what is readable; VMs keep running",
            ),
        ),
    }
}

fn database_set_aside(path: &Path) -> DoctorRow {
    let hint = "what was readable was recovered: delete the file if nothing is missing";
    row(Verdict::Warn, "set aside", path.display().to_string(), Some(hint))
}

fn manifest_damaged(path: &Path) -> DoctorRow {
    row(Verdict::Fail, "set aside", path.display().to_string(), Some("delete the directory, then pull again"))
}

fn artefacts(config: &Config, images: &[ImageRecord], kernels: &[KernelRecord]) -> [DoctorRow; 2] {
    let (image, kernel) = (&config.default_image.value, &config.default_kernel.value);
    let present = |subject: &str, name: String, is_there: bool, hint: &str| match is_there {
        true => pass(subject, name),
        false => row(Verdict::Warn, subject, format!("`{name}` is not on this host yet"), Some(hint)),
    };
    [
        present(
            "default image",
            image.to_string(),
            images.iter().any(|found| found.name == *image),
            "the first `banger vm run` pulls it",
        ),
        present(
            "default kernel",
            kernel.to_string(),
            kernels.iter().any(|found| found.name == *kernel),
            "`banger kernel pull` or the first `banger vm run` pulls it",
        ),
    ]
}

fn leftovers(unowned: &[String], served_by: Option<&Station>) -> DoctorRow {
    let subject = "leftovers";
    if unowned.is_empty() {
        return pass(subject, "none");
    }
    let hint = match served_by {
        Some(Station::Local) => "run `banger daemon stop`; the next command removes them",
        Some(Station::System(_)) => "`sudo banger system restart` removes them; VMs keep running",
        None => "the next command that starts the daemon removes them",
    };
    row(Verdict::Warn, subject, unowned.join(", "), Some(hint))
}
