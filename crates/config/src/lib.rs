//! The user's configuration, `config.toml`, read in the same way by the command and the daemon, and by nobody else.
//!
//! Every key is optional. An unknown key is refused, and the error names the nearest known one, with file and line: a
//! setting without effect is worse than none. The result is complete: each [`Setting`] has a value and its source (the
//! file, the host, or the built-in default), which `banger doctor` prints.
//!
//! Nothing here checks the programs or directories that the settings name; their users do, and report key and line
//! ([`Config::place`]).

mod choice;
mod file;
mod file_sync;
mod interval;
mod listing;
mod machine;
mod mirrors;
mod nearest;

pub use choice::{LogLevel, RootDiskChoice, VmmChoice};
pub use file::name_the_nearest;
pub use file_sync::FileSync;
pub use interval::{Interval, ParseIntervalError};
pub use listing::Entry;
pub use machine::Machine;
pub use mirrors::{Mirror, MirrorScheme, RegistryMirrors};
pub use nearest::{mistyped, probably_meant};

use banger_protocol::local_paths::LocalPaths;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use std::io;
use std::path::{Path, PathBuf};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("invalid configuration {}:{line}: {message}", path.display())]
    Wrong { path: PathBuf, line: usize, message: String },
}

impl ConfigError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("make {} readable, or remove it", path.display()),
            Self::Wrong { .. } => {
                "fix or remove that line; `banger doctor` shows all settings and their values".to_owned()
            }
        }
    }
}

/// Who chose a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file, in this line.
    Config {
        line: usize,
    },
    /// What was found on this machine.
    Host,
    BuiltIn,
}

/// A value and who chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub source: Source,
}

impl<T> Setting<T> {
    fn built_in(value: T) -> Self {
        Self { value, source: Source::BuiltIn }
    }

    fn of_host(value: T) -> Self {
        Self { value, source: Source::Host }
    }
}

/// Every setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    path: PathBuf,
    pub log_level: Setting<LogLevel>,
    /// Which VMM runs guests.
    pub vmm: Setting<VmmChoice>,
    /// Instead of the `firecracker` beside banger's programs or in the PATH.
    pub firecracker_bin: Option<Setting<PathBuf>>,
    /// Instead of the `qemu-system-x86_64` in the PATH.
    pub qemu_bin: Option<Setting<PathBuf>>,
    /// Instead of the `vhost-device-vsock` beside banger's programs or in the PATH.
    pub vsock_backend_bin: Option<Setting<PathBuf>>,
    /// How a VM's changes to its image are kept, for VMs started for the first time.
    pub root_disk: Setting<RootDiskChoice>,
    /// What VMs are made of that name no image.
    pub default_image: Setting<ImageName>,
    /// What images boot that name no kernel.
    pub default_kernel: Setting<KernelName>,
    /// The private key that opens every guest.
    pub ssh_key_path: Setting<PathBuf>,
    /// A running VM that nobody has used for so long is stopped; `None` keeps it.
    pub auto_stop_stale_after: Setting<Option<Interval>>,
    /// How often running VMs are looked at.
    pub stats_poll_interval: Setting<Interval>,
    /// Where Debian's packages come from; `None` leaves it to the tool that gets them.
    pub debian_mirror: Option<Setting<String>>,
    /// Who is asked before a registry is.
    pub registry_mirrors: Vec<Setting<RegistryMirrors>>,
    /// Files that every guest gets.
    pub file_sync: Vec<Setting<FileSync>>,
    pub vm_defaults: VmDefaults,
}

/// What a VM gets that was given nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDefaults {
    pub vcpu: Setting<u32>,
    pub memory: Setting<ByteSize>,
    /// How large the disk is that is mounted on `/root`.
    pub disk_size: Setting<ByteSize>,
}

impl Config {
    /// Reads the file of these places; without one, nothing is chosen by it.
    ///
    /// # Errors
    /// When there is a file that cannot be read or understood.
    pub fn read(paths: &LocalPaths) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(&paths.config) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path: paths.config.clone(), source }),
        };
        Self::parse(&text, paths, &Machine::look())
    }

    /// The settings that a file with this text makes on this machine. Pure.
    ///
    /// # Errors
    /// When the text cannot be understood.
    pub fn parse(text: &str, paths: &LocalPaths, machine: &Machine) -> Result<Self, ConfigError> {
        file::parse(text, paths, machine)
    }

    /// The file, whether it is there or not.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mirrors of a registry, in the order in which they are to be asked.
    pub fn mirrors_of<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a Mirror> {
        let all = self.registry_mirrors.iter().map(|setting| &setting.value);
        all.filter(move |one| one.registry == registry).flat_map(|one| &one.mirrors)
    }

    /// Where a setting that came from the file is written: `file:line`.
    #[must_use]
    pub fn place(&self, source: Source) -> String {
        match source {
            Source::Config { line } => format!("{}:{line}", self.path.display()),
            Source::Host | Source::BuiltIn => self.path.display().to_string(),
        }
    }
}
