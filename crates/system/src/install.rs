//! What the install file says, and who goes by it.

use crate::file::{self, FileError, Pairs, Value};
use crate::range::Network;
use crate::trust::{self, Untrusted};
use crate::vm_uids::VmUids;
use banger_protocol::root_api::Settings;
use std::io;
use std::path::{Path, PathBuf};

/// Everything the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Of the programs that were installed.
    pub version: String,
    pub owner: Owner,
    /// Where `bangerd`, `bangerd-root` and the guest's agent are.
    pub programs: PathBuf,
    /// Firecracker's jailer, when there is one.
    pub jailer: Option<String>,
    /// Whether Firecracker shall run under one, whether or not there is one: what was chosen, and not what came of it.
    pub jailed: bool,
    /// Whose rules were added to, so that guests get out.
    pub firewall: Option<Firewall>,
    /// The users that VMs run as.
    pub vm_uids: VmUids,
    /// The users that VMs ran as before. A VM's folder belongs to one of them until it is started again.
    pub former_vm_uids: Vec<VmUids>,
    /// What root acts on: its programs, its bridge and its range.
    pub settings: Settings,
}

/// The one user whom the system serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    pub home: PathBuf,
}

/// Somebody else's firewall, told about the bridge with the administrator's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    Docker,
    Firewalld,
}

impl Firewall {
    pub const ALL: [Self; 2] = [Self::Docker, Self::Firewalld];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Firewalld => "firewalld",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|firewall| firewall.as_str() == word)
    }
}

/// Why it is not known whether banger is installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{} was not read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not trusted", path.display())]
    Untrusted {
        path: PathBuf,
        #[source]
        source: Untrusted,
    },
    #[error("{} was not understood", path.display())]
    Wrong {
        path: PathBuf,
        #[source]
        source: FileError,
    },
}

impl InstallError {
    /// What whoever administers the host can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "it must belong to root with mode 0644: run `sudo banger system install` again"
    }
}

/// Which banger serves a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Their own, of whom nothing is installed.
    Local,
    /// The installed one, and no other.
    System(Box<Install>),
}

/// The installed banger serves its owner; everybody else has their own. Pure.
#[must_use]
pub fn mode_of(installed: Option<Install>, uid: u32) -> Mode {
    match installed {
        Some(install) if install.owner.uid == uid => Mode::System(Box::new(install)),
        Some(_) | None => Mode::Local,
    }
}

impl Install {
    /// What is installed on this host; `None` when nothing is.
    ///
    /// # Errors
    /// When there is a file that was not read, that others than root can change, or that makes no sense: then it is not
    /// known which banger serves whom, and none does.
    pub fn read() -> Result<Option<Self>, InstallError> {
        Self::read_at(Path::new(crate::INSTALL))
    }

    fn read_at(path: &Path) -> Result<Option<Self>, InstallError> {
        let here = || path.to_owned();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(InstallError::Read { path: here(), source }),
        };
        trust::check(path).map_err(|source| InstallError::Untrusted { path: here(), source })?;
        Self::parse(&text).map(Some).map_err(|source| InstallError::Wrong { path: here(), source })
    }

    /// The meaning of a file with this text. Pure.
    ///
    /// # Errors
    /// When it is not exactly what [`Install::render`] could have written.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut pairs = Pairs::parse(text)?;
        let address =
            |key| FileError::Value { key, expected: "an address with a prefix such as 172.16.0.1/24" };
        let range: Network = pairs.text("range")?.parse().map_err(|_| address("range"))?;
        let firewall = match pairs.optional_text("firewall")? {
            None => None,
            Some(word) => Some(
                Firewall::from_word(&word)
                    .ok_or(FileError::Value { key: "firewall", expected: "`docker` or `firewalld`" })?,
            ),
        };
        // Files of older versions have none.
        let vm_uids = match pairs.optional_text("vm_uids")? {
            None => VmUids::USUAL,
            Some(text) => text.parse().map_err(|_| FileError::Value {
                key: "vm_uids",
                expected: "a range such as 1879048192-1895825407",
            })?,
        };
        let former_vm_uids = match pairs.optional_text("former_vm_uids")? {
            None => Vec::new(),
            Some(text) => text.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| {
                FileError::Value { key: "former_vm_uids", expected: "ranges with spaces between them" }
            })?,
        };
        let install = Self {
            version: pairs.text("version")?,
            owner: Owner {
                uid: pairs.number("owner_uid")?,
                gid: pairs.number("owner_gid")?,
                name: pairs.text("owner")?,
                home: absolute(&mut pairs, "owner_home")?,
            },
            programs: absolute(&mut pairs, "programs")?,
            jailer: pairs.optional_text("jailer")?,
            jailed: pairs.truth("jailed")?,
            firewall,
            vm_uids,
            former_vm_uids,
            settings: Settings {
                qemu: pairs.optional_text("qemu")?,
                vsock_backend: pairs.optional_text("vsock_backend")?,
                firecracker: pairs.optional_text("firecracker")?,
                nft: pairs.optional_text("nft")?,
                bridge: pairs.text("bridge")?,
                address: range.host,
                prefix: range.prefix,
            },
        };
        pairs.end()?;
        // Whoever root were to serve, or run guests for, is somebody else.
        if install.owner.uid == 0 {
            return Err(FileError::Value { key: "owner_uid", expected: "that of an ordinary user" });
        }
        if install.vm_uids.contains(install.owner.uid) || install.vm_uids.contains(install.owner.gid) {
            return Err(FileError::Value { key: "vm_uids", expected: "a range without the owner in it" });
        }
        Ok(install)
    }

    /// The file's text.
    ///
    /// # Errors
    /// With the key whose value cannot be written: a home with a quote in its name.
    pub fn render(&self) -> Result<String, FileError> {
        let Self { version, owner, programs, jailer, jailed, firewall, vm_uids, former_vm_uids, settings } =
            self;
        let former: Vec<String> = former_vm_uids.iter().map(VmUids::to_string).collect();
        let range = Network { host: settings.address, prefix: settings.prefix }.to_string();
        let texts = [
            ("version", Some(version.clone())),
            ("owner", Some(owner.name.clone())),
            ("owner_home", Some(owner.home.display().to_string())),
            ("programs", Some(programs.display().to_string())),
            ("firecracker", settings.firecracker.clone()),
            ("jailer", jailer.clone()),
            ("qemu", settings.qemu.clone()),
            ("vsock_backend", settings.vsock_backend.clone()),
            ("nft", settings.nft.clone()),
            ("bridge", Some(settings.bridge.clone())),
            ("range", Some(range)),
            ("firewall", firewall.map(|firewall| firewall.as_str().to_owned())),
            ("vm_uids", Some(vm_uids.to_string())),
            ("former_vm_uids", (!former.is_empty()).then(|| former.join(" "))),
        ];
        let mut text =
            "# What bangerd-root acts on. `sudo banger system install` writes it; nothing else is asked.\n"
                .to_owned();
        for (key, value) in texts {
            let Some(value) = value else { continue };
            if !file::is_plain(&value) {
                return Err(FileError::Value {
                    key,
                    expected: "a text without quotes and control characters",
                });
            }
            file::write(&mut text, key, &Value::Text(value));
        }
        file::write(&mut text, "owner_uid", &Value::Number(owner.uid));
        file::write(&mut text, "owner_gid", &Value::Number(owner.gid));
        file::write(&mut text, "jailed", &Value::Truth(*jailed));
        Ok(text)
    }

    /// The jailer that Firecracker runs under.
    #[must_use]
    pub fn jailer_in_use(&self) -> Option<&str> {
        self.jailer.as_deref().filter(|_| self.jailed)
    }

    /// A program of banger's own.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

fn absolute(pairs: &mut Pairs, key: &'static str) -> Result<PathBuf, FileError> {
    let path = PathBuf::from(pairs.text(key)?);
    if path.is_absolute() { Ok(path) } else { Err(FileError::Value { key, expected: "an absolute path" }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn install() -> Install {
        Install {
            version: "0.1.0".to_owned(),
            owner: Owner { uid: 1000, gid: 1000, name: "dev".to_owned(), home: "/home/dev".into() },
            programs: "/usr/lib/banger".into(),
            jailer: Some("/usr/bin/jailer".to_owned()),
            jailed: true,
            firewall: Some(Firewall::Docker),
            vm_uids: "200000-300000".parse().unwrap(),
            former_vm_uids: ["400000-500000", "600000-700000"].map(|text| text.parse().unwrap()).to_vec(),
            settings: Settings {
                qemu: None,
                vsock_backend: None,
                firecracker: Some("/usr/bin/firecracker".to_owned()),
                nft: Some("/usr/sbin/nft".to_owned()),
                bridge: "br-banger".to_owned(),
                address: Ipv4Addr::new(172, 16, 0, 1),
                prefix: 24,
            },
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let bare = Install { jailer: None, firewall: None, former_vm_uids: Vec::new(), ..install() };
        for install in [install(), bare] {
            assert_eq!(Install::parse(&install.render().unwrap()), Ok(install));
        }
    }

    #[test]
    fn nothing_is_written_that_would_be_read_as_something_else() {
        let mut strange = install();
        strange.owner.home = "/home/a\"\njailed = false\n#".into();
        assert!(matches!(strange.render(), Err(FileError::Value { key: "owner_home", .. })));
    }

    #[test]
    fn a_file_that_lacks_adds_or_twists_anything_is_refused() {
        let good = install().render().unwrap();
        for line in good.lines().filter(|line| !line.starts_with('#')) {
            let key = line.split(' ').next().unwrap();
            let optional =
                ["firecracker", "jailer", "nft", "firewall", "vm_uids", "former_vm_uids"].contains(&key);
            let without = good.replace(&format!("{line}\n"), "");
            assert_eq!(Install::parse(&without).is_ok(), optional, "without {key}");
        }
        for (from, to) in [
            ("owner_uid = 1000", "owner_uid = 0"),
            ("\"/home/dev\"", "\"home/dev\""),
            ("172.16.0.1/24", "172.16.0.1"),
            ("\"docker\"", "\"podman\""),
            ("jailed = true", "jailed = 1"),
            ("200000-300000", "200000-200001"),
            ("200000-300000", "1000-100000"),
            ("400000-500000 ", "400000-400001 "),
            ("400000-500000 ", " "),
            ("owner_uid = 1000", "owner_uid = 250000"),
            ("owner_gid = 1000", "owner_gid = 250000"),
            ("# What", "more = true\n# What"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(Install::parse(&good.replace(from, to)).is_err(), "{to} was accepted");
        }
    }

    #[test]
    fn the_installed_banger_is_its_owners_and_nobody_elses() {
        let table = [
            (None, 1000, false),
            (Some(install()), 1000, true),
            (Some(install()), 1001, false),
            (Some(install()), 0, false),
        ];
        for (installed, uid, is_system) in table {
            assert_eq!(matches!(mode_of(installed, uid), Mode::System(_)), is_system, "{uid}");
        }
    }

    #[test]
    fn a_file_that_somebody_else_could_have_written_is_an_error_and_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("install.toml");
        assert!(matches!(Install::read_at(&path), Ok(None)));
        std::fs::write(&path, install().render().unwrap()).unwrap();
        // Below the temporary folder, which everybody may write to.
        assert!(matches!(Install::read_at(&path), Err(InstallError::Untrusted { .. })));
    }
}
