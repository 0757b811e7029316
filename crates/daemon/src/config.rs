//! The user's settings: `config.toml`. Every key is optional, an unknown one is refused.

use crate::store::VmSpec;
use crate::vm::create::{host_cpus, host_memory};
use banger_protocol::names::ImageName;
use banger_protocol::size::ByteSize;
use serde::{Deserialize, Deserializer};
use std::io;
use std::path::{Path, PathBuf};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the settings {path} cannot be read")]
    Read { path: String, source: io::Error },
    #[error("the settings {path}:{line} are wrong: {message}")]
    Wrong { path: String, line: usize, message: String },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What VMs are made of that name no image.
    pub default_image: ImageName,
    /// Which VMM runs guests.
    pub vmm: VmmChoice,
    /// How a VM's changes to its image are kept, for VMs started for the first time.
    pub root_disk: RootDiskChoice,
    /// Instead of the `firecracker` beside banger's programs or in the PATH.
    pub firecracker_bin: Option<PathBuf>,
    /// Instead of the `qemu-system-x86_64` in the PATH.
    pub qemu_bin: Option<PathBuf>,
    /// Instead of the `vhost-device-vsock` beside banger's programs or in the PATH.
    pub vsock_backend_bin: Option<PathBuf>,
    /// banger's own key, instead of the one in the state folder.
    pub ssh_key_path: Option<PathBuf>,
    pub log_level: Option<LogLevel>,
    /// Read by `banger` when it builds images; known here so that it is not refused.
    pub debian_mirror: Option<String>,
    vm_defaults: VmDefaults,
}

/// The values of `vmm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VmmChoice {
    /// The best there is on this host.
    #[default]
    Auto,
    Firecracker,
    Qemu,
}

/// The values of `root_disk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootDiskChoice {
    /// The cheapest that works here.
    #[default]
    Auto,
    Reflink,
    GuestSnapshot,
    Copy,
}

/// The values of `log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VmDefaults {
    vcpu: Option<u32>,
    #[serde(deserialize_with = "size")]
    memory: Option<ByteSize>,
    #[serde(deserialize_with = "size")]
    disk_size: Option<ByteSize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_image: "debian-bookworm".parse().expect("a legal name"),
            vmm: VmmChoice::Auto,
            root_disk: RootDiskChoice::Auto,
            firecracker_bin: None,
            qemu_bin: None,
            vsock_backend_bin: None,
            ssh_key_path: None,
            log_level: None,
            debian_mirror: None,
            vm_defaults: VmDefaults::default(),
        }
    }
}

/// Sizes in the settings are written as on the command line.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Mib(u64),
    }
    match Written::deserialize(deserializer)? {
        Written::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        Written::Mib(mib) => Ok(Some(ByteSize::mib(mib))),
    }
}

impl Config {
    /// Reads the file; without one, everything is as built in.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.display().to_string(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = name_the_nearest(error.message());
            ConfigError::Wrong { path: path.display().to_string(), line, message }
        })
    }

    /// What a VM gets that was given nothing: a quarter of the host's processors between 1 and 4, an eighth of its
    /// memory between 512 MiB and 8 GiB, and a work disk of 8 GiB.
    pub(crate) fn vm_defaults(&self) -> VmSpec {
        let eighth = (host_memory().as_bytes() / 8).clamp(512 << 20, 8 << 30);
        VmSpec {
            vcpu: self.vm_defaults.vcpu.unwrap_or_else(|| (host_cpus() / 4).clamp(1, 4)),
            memory: self.vm_defaults.memory.unwrap_or(ByteSize::mib(eighth >> 20)),
            disk_size: self.vm_defaults.disk_size.unwrap_or(VmSpec::USUAL_DISK_SIZE),
            nat: false,
        }
    }
}

/// Shortens serde's list of everything that would have been known to the one that was probably meant.
fn name_the_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (true, Some(unknown)) = (message.starts_with("unknown "), quoted.next()) else {
        return message.to_owned();
    };
    let nearest =
        quoted.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match nearest {
        Some(nearest) => format!("`{unknown}` is not known; did you mean `{nearest}`?"),
        None => format!("`{unknown}` is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_an_error_with_its_line() {
        let error = Config::parse("log_level = \"debug\"\n\ndefault_imag = \"x\"\n", Path::new("/c.toml"));
        let Err(ConfigError::Wrong { line, message, .. }) = error else { panic!("{error:?}") };
        assert_eq!(line, 3);
        assert_eq!(message, "`default_imag` is not known; did you mean `default_image`?");
    }

    #[test]
    fn a_misspelt_value_is_an_error_too() {
        let error = Config::parse("log_level = \"inof\"", Path::new("/c.toml"));
        let Err(ConfigError::Wrong { line: 1, message, .. }) = error else { panic!("{error:?}") };
        assert_eq!(message, "`inof` is not known; did you mean `info`?");
    }

    #[test]
    fn sizes_are_written_as_on_the_command_line() {
        let parse = |text| Config::parse(text, Path::new("c")).map(|config| config.vm_defaults());
        let defaults = parse("[vm_defaults]\nvcpu = 2\nmemory = \"1G\"\ndisk_size = \"20G\"").unwrap();
        assert_eq!((defaults.vcpu, defaults.memory), (2, ByteSize::mib(1024)));
        assert_eq!(defaults.disk_size, ByteSize::mib(20 << 10));
        assert_eq!(parse("[vm_defaults]\nmemory = 700").unwrap().memory, ByteSize::mib(700));
        assert!(parse("[vm_defaults]\nmemory = \"much\"").is_err());
    }
}
