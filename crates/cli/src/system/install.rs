//! Making the installed system, or bringing an older one up to this build.
//!
//! Nothing is changed before everything is known: whose it is, what root may run, which addresses are free. Then files,
//! each by rename, the install file last; then systemd; and it is done when both services have answered.

use super::foreign_firewall::{self, ForeignError};
use super::host::{self, Found, OwnerError};
use super::layout::{self, BACKEND, Origin, PROGRAMS};
use super::systemd::{self, SystemdError};
use crate::daemon::{ConnectError, Daemon};
use crate::failure::Failure;
use crate::printer;
use banger_protocol::daemon_api::system::{DaemonStatus, Status};
use banger_protocol::root_api::Settings;
use banger_protocol::wire::ConnectionError;
use banger_system::{
    FileError, Firewall, INSTALL, Install, InstallError, Network, NoRange, Owner, Taken, VmUids, choose_range,
};
use rustix::event::{Timespec, poll};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BRIDGE: &str = "br-banger";
const RANGE: Network = Network { host: Ipv4Addr::new(172, 16, 0, 1), prefix: 24 };
/// How long both services may take until they answer.
const ANSWER: Duration = Duration::from_secs(60);
const TRY_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What the administrator chose.
#[derive(Debug)]
pub(crate) struct Wish {
    pub owner: Option<String>,
    pub firewall: Chosen<Option<Firewall>>,
    /// Whether Firecracker runs under its jailer.
    pub jailed: Chosen<bool>,
    pub vm_uids: Chosen<VmUids>,
}

/// What was chosen this time. Where nothing was, what was installed before stays as it is: an upgrade asks for nothing.
pub(crate) type Chosen<T> = Option<T>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    #[error(transparent)]
    Owner(OwnerError),
    #[error(transparent)]
    Install(InstallError),
    #[error("nothing was changed: the installed banger belongs to {0}")]
    SomebodyElses(String),
    #[error("this program's own file was not found")]
    Own(#[source] io::Error),
    #[error("nothing was changed: {name} is missing in {}", folder.display())]
    Incomplete { name: &'static str, folder: PathBuf },
    #[error("nothing was changed: users other than root can write to {name}")]
    Untrusted {
        name: &'static str,
        #[source]
        source: banger_system::trust::Untrusted,
    },
    #[error("nothing was changed: {0} is missing, which isolates guests from the host and from each other")]
    NoNft(&'static str),
    #[error("nothing was changed")]
    Range(#[source] NoRange),
    #[error("nothing was changed")]
    VmUids(#[source] Taken),
    #[error("nothing was changed: the jailer is not installed")]
    NoJailer,
    #[error("nothing was changed: the install file cannot be written")]
    Render(#[source] FileError),
    #[error("{} was not written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error("the bridge was not added to the firewall")]
    Foreign(#[source] ForeignError),
    #[error("nothing was changed: the bridge was not removed from the firewall that it was added to before")]
    Left(#[source] ForeignError),
    #[error("everything is installed, but the services do not answer")]
    Silent(#[source] Unanswered),
}

/// How the services do not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("nothing listens")]
    Nobody,
    #[error("the daemon was not reached")]
    Connect(#[source] ConnectError),
    #[error("the daemon did not report its status")]
    Ask(#[source] ConnectionError),
    #[error("the daemon answers, but bangerd-root does not")]
    NoHelper,
}

impl From<SetUpError> for Failure {
    fn from(error: SetUpError) -> Self {
        let hint = match &error {
            SetUpError::Owner(OwnerError::Unnamed | OwnerError::Root) => {
                Some("sudo banger system install --owner YOUR-NAME".to_owned())
            }
            SetUpError::Install(_) => Some(format!("check it; to have it recreated, `rm {INSTALL}`")),
            SetUpError::SomebodyElses(_) => Some(
                "a host can have one installed banger: run `sudo banger system uninstall` first".to_owned(),
            ),
            SetUpError::Incomplete { .. } => {
                Some("all banger programs must be in the same directory".to_owned())
            }
            SetUpError::Untrusted { .. } => {
                Some("root runs it: give it and its parent directories to root, with mode 0755".to_owned())
            }
            SetUpError::VmUids(_) => {
                Some("use uids that nobody has: `sudo banger system install --vm-uids FIRST-LAST`".to_owned())
            }
            SetUpError::NoJailer => Some(
                "put `jailer` from the Firecracker release into /usr/local/bin, next to firecracker"
                    .to_owned(),
            ),
            SetUpError::Foreign(error) | SetUpError::Left(error) => error.hint().map(str::to_owned),
            SetUpError::NoNft(_) => Some("Debian: sudo apt install nftables".to_owned()),
            SetUpError::Systemd(_) | SetUpError::Silent(_) => {
                Some("journalctl --unit bangerd --unit bangerd-root --lines 30".to_owned())
            }
            _ => None,
        };
        let failure = Self::of(&error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Installs, and returns once both services have answered.
pub(crate) fn install(wish: &Wish) -> Result<(Install, DaemonStatus), SetUpError> {
    let before = Install::read().map_err(SetUpError::Install)?;
    let named = wish.owner.as_deref().or(before.as_ref().map(|before| before.owner.name.as_str()));
    let owner = host::owner(named).map_err(SetUpError::Owner)?;
    if let Some(before) = &before
        && before.owner.uid != owner.uid
    {
        return Err(SetUpError::SomebodyElses(before.owner.name.clone()));
    }
    let own = std::env::current_exe().and_then(|own| own.canonicalize()).map_err(SetUpError::Own)?;
    let origin = Origin::of(&own);
    if let Origin::Folder(folder) = &origin
        && let Some(name) = PROGRAMS.into_iter().find(|name| !folder.join(name).is_file())
    {
        return Err(SetUpError::Incomplete { name, folder: folder.clone() });
    }
    let install = plan(wish, before.as_ref(), owner, &origin)?;
    let text = install.render().map_err(SetUpError::Render)?;

    // Before the file says otherwise: as long as it names a firewall, what was added there is known to be ours.
    if let Some(before) = &before
        && let Some(former) = before.firewall.filter(|former| install.firewall != Some(*former))
    {
        foreign_firewall::forget(former, &before.settings.bridge).map_err(SetUpError::Left)?;
    }
    if let Origin::Folder(folder) = &origin {
        copy_programs(folder, &own, &origin)?;
    }
    for folder in [banger_system::STATE, banger_system::CACHE] {
        make_folder(Path::new(folder), 0o700, install.owner.uid, install.owner.gid)?;
    }
    for text in layout::texts(&origin, &install.owner) {
        write(&text.path, text.content.as_bytes(), 0o644)?;
    }
    write(Path::new(INSTALL), text.as_bytes(), 0o644)?;
    start()?;
    if let Some(firewall) = install.firewall {
        foreign_firewall::admit(firewall, &install.settings.bridge).map_err(SetUpError::Foreign)?;
    }
    let status = wait_until_answered().map_err(SetUpError::Silent)?;
    Ok((install, status))
}

/// What the install file will say.
fn plan(wish: &Wish, before: Option<&Install>, owner: Owner, origin: &Origin) -> Result<Install, SetUpError> {
    let trusted = |name| match host::program(name) {
        Found::Absent => Ok(None),
        Found::Trusted(path) => Ok(Some(path)),
        Found::Refused(source) => Err(SetUpError::Untrusted { name, source }),
    };
    let wanted = before
        .map_or(RANGE, |before| Network { host: before.settings.address, prefix: before.settings.prefix });
    let range = choose_range(wanted, &host::routes(BRIDGE)).map_err(SetUpError::Range)?;
    let jailer = trusted("jailer")?;
    if wish.jailed == Some(true) && jailer.is_none() {
        return Err(SetUpError::NoJailer);
    }
    let jailed = is_jailed(wish.jailed, before);
    let vm_uids = wish.vm_uids.or(before.map(|before| before.vm_uids)).unwrap_or(VmUids::USUAL);
    vm_uids.are_nobodys().map_err(SetUpError::VmUids)?;
    // It is beside the others, or will be.
    let beside = match origin {
        Origin::Folder(folder) => folder,
        Origin::Package => origin.programs(),
    };
    let backend = match beside.join(BACKEND).is_file() {
        true => Some(origin.programs().join(BACKEND).display().to_string()),
        false => trusted(BACKEND)?,
    };
    Ok(Install {
        version: banger_protocol::VERSION.to_owned(),
        owner,
        programs: origin.programs().to_owned(),
        jailed,
        jailer,
        firewall: wish.firewall.unwrap_or(before.and_then(|before| before.firewall)),
        vm_uids,
        former_vm_uids: former_vm_uids(before, vm_uids),
        settings: Settings {
            qemu: trusted("qemu-system-x86_64")?,
            vsock_backend: backend,
            firecracker: trusted("firecracker")?,
            nft: Some(trusted("nft")?.ok_or(SetUpError::NoNft("nft"))?),
            bridge: BRIDGE.to_owned(),
            address: range.host,
            prefix: range.prefix,
        },
    })
}

/// Whether Firecracker shall run under a jailer: what was switched off stays off, even where there was nothing to switch.
/// Pure.
fn is_jailed(chosen: Chosen<bool>, before: Option<&Install>) -> bool {
    chosen.unwrap_or(before.is_none_or(|before| before.jailed))
}

/// Ranges that folders of VMs may still belong to, besides the present one. Pure.
fn former_vm_uids(before: Option<&Install>, present: VmUids) -> Vec<VmUids> {
    let Some(before) = before else { return Vec::new() };
    let mut former = before.former_vm_uids.clone();
    former.push(before.vm_uids);
    former.sort_by_key(|uids| (uids.first(), uids.last()));
    former.dedup();
    former.retain(|uids| *uids != present);
    former
}

fn copy_programs(folder: &Path, own: &Path, origin: &Origin) -> Result<(), SetUpError> {
    let to = origin.programs();
    // Whoever can write to it can put another program in the place of one that root runs.
    make_folder(to, 0o755, 0, 0)?;
    let backend = [BACKEND].into_iter().filter(|name| folder.join(name).is_file());
    let beside = PROGRAMS.into_iter().chain(backend).map(|name| (folder.join(name), to.join(name)));
    for (from, to) in beside.chain([(own.to_owned(), "/usr/local/bin/banger".into())]) {
        if from == to {
            continue;
        }
        let bytes = std::fs::read(&from).map_err(|source| SetUpError::Write { path: to.clone(), source })?;
        write(&to, &bytes, 0o755)?;
    }
    Ok(())
}

/// A folder with this mode and owner, whatever it had before.
fn make_folder(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<(), SetUpError> {
    let make = || -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
    };
    make().map_err(|source| SetUpError::Write { path: path.to_owned(), source })
}

/// Under another name first: whoever reads sees the old file or the new one. One that is as it should be stays.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), SetUpError> {
    let as_it_should_be = std::fs::read(path).is_ok_and(|found| found == content)
        // No link: where that leads is decided by whoever can write there.
        && std::fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_file() && found.uid() == 0 && found.mode() & 0o7777 == mode);
    if as_it_should_be {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let put = || -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    put().map_err(|source| SetUpError::Write { path: path.to_owned(), source })
}

/// The helper first, so that the daemon finds it with the settings it has itself.
fn start() -> Result<(), SystemdError> {
    systemd::ask(&["daemon-reload"])?;
    systemd::ask(&["enable", "--quiet", "bangerd.socket", "bangerd-root.socket", "bangerd.service"])?;
    systemd::ask(&["stop", "bangerd.service", "bangerd-root.service"])?;
    // Whose a socket is was settled when it was made.
    systemd::ask(&["restart", "bangerd-root.socket", "bangerd.socket"])?;
    systemd::ask(&["start", "bangerd-root.service", "bangerd.service"])
}

/// By asking: the daemon says how it is, for which it asks the helper.
pub(crate) fn wait_until_answered() -> Result<DaemonStatus, Unanswered> {
    let deadline = Instant::now() + ANSWER;
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => {
                // Nothing to poll but time.
                let _ = poll(&mut [], Some(&TRY_AGAIN));
            }
            outcome => return outcome,
        }
    }
}

/// Both services, by way of the daemon.
pub(crate) fn ask() -> Result<DaemonStatus, Unanswered> {
    let mut daemon = Daemon::installed().map_err(Unanswered::Connect)?.ok_or(Unanswered::Nobody)?;
    let status = daemon.call(&Status {}).map_err(Unanswered::Ask)?;
    if status.helper_pid.is_none() { Err(Unanswered::NoHelper) } else { Ok(status) }
}

/// What was installed, for whoever watches.
pub(crate) fn tell(install: &Install, status: &DaemonStatus) {
    let range = Network { host: install.settings.address, prefix: install.settings.prefix };
    printer::talk(format_args!(
        "banger {} is installed for {}: guests get addresses of {range} on {}",
        status.version, install.owner.name, install.settings.bridge
    ));
    if install.settings.firecracker.is_none() {
        printer::talk("no firecracker in /usr/local/bin or /usr/bin, so guests run under QEMU");
    }
    printer::talk(format_args!(
        "as {}: `banger vm run --rm`; `banger system status` shows the status",
        install.owner.name
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(jailer: bool, jailed: bool, vm_uids: &str, former: &[&str]) -> Install {
        let uids = |text: &str| text.parse::<VmUids>().unwrap();
        Install {
            version: "0.1.0".to_owned(),
            owner: Owner { uid: 1000, gid: 1000, name: "dev".to_owned(), home: "/home/dev".into() },
            programs: "/usr/lib/banger".into(),
            jailer: jailer.then(|| "/usr/bin/jailer".to_owned()),
            jailed,
            firewall: None,
            vm_uids: uids(vm_uids),
            former_vm_uids: former.iter().copied().map(uids).collect(),
            settings: Settings {
                qemu: None,
                vsock_backend: None,
                firecracker: None,
                nft: None,
                bridge: BRIDGE.to_owned(),
                address: RANGE.host,
                prefix: RANGE.prefix,
            },
        }
    }

    #[test]
    fn what_was_chosen_about_the_jailer_stays_whether_or_not_there_was_one() {
        for jailer in [true, false] {
            for jailed in [true, false] {
                let before = before(jailer, jailed, "200000-300000", &[]);
                assert_eq!(is_jailed(None, Some(&before)), jailed, "with a jailer: {jailer}");
                for chosen in [true, false] {
                    assert_eq!(is_jailed(Some(chosen), Some(&before)), chosen);
                }
            }
        }
        assert!(is_jailed(None, None), "the first installation");
        assert!(!is_jailed(Some(false), None));
    }

    #[test]
    fn ranges_of_before_are_remembered_once_and_the_present_one_is_none_of_them() {
        let [a, b, c] = ["200000-300000", "300001-400000", "400001-500000"];
        let former = |before: &Install, present: &str| -> Vec<String> {
            let former = former_vm_uids(Some(before), present.parse().unwrap());
            former.iter().map(VmUids::to_string).collect()
        };
        assert_eq!(former(&before(true, true, a, &[]), a), [""; 0]);
        assert_eq!(former(&before(true, true, a, &[]), b), [a]);
        assert_eq!(former(&before(true, true, b, &[a]), c), [a, b]);
        assert_eq!(former(&before(true, true, b, &[a]), a), [b]);
        assert_eq!(former(&before(true, true, b, &[a]), b), [a]);
        assert!(former_vm_uids(None, VmUids::USUAL).is_empty());
    }
}
