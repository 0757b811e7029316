//! The file's text and what it comes to.

use crate::nearest::nearest;
use crate::{
    Config, ConfigError, FileSync, Interval, LogLevel, Machine, RegistryMirrors, RootDiskChoice, Setting,
    Source, VmDefaults, VmmChoice,
};
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

const IMAGE: &str = "debian-bookworm";
const KERNEL: &str = "debian-bookworm-cloud";
const POLL: Interval = Interval::seconds(10);
const DISK_SIZE: ByteSize = ByteSize::mib(8 << 10);

/// What the file may say, as it is said.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    log_level: Option<Spanned<LogLevel>>,
    vmm: Option<Spanned<VmmChoice>>,
    firecracker_bin: Option<Spanned<PathBuf>>,
    qemu_bin: Option<Spanned<PathBuf>>,
    vsock_backend_bin: Option<Spanned<PathBuf>>,
    root_disk: Option<Spanned<RootDiskChoice>>,
    default_image: Option<Spanned<ImageName>>,
    default_kernel: Option<Spanned<KernelName>>,
    ssh_key_path: Option<Spanned<PathBuf>>,
    auto_stop_stale_after: Option<Spanned<OrOff>>,
    stats_poll_interval: Option<Spanned<Span>>,
    debian_mirror: Option<Spanned<String>>,
    registry_mirrors: BTreeMap<Spanned<String>, Vec<String>>,
    file_sync: Vec<Spanned<WrittenFileSync>>,
    vm_defaults: WrittenVmDefaults,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFileSync {
    host: String,
    guest: String,
    mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenVmDefaults {
    vcpu: Option<Spanned<u32>>,
    memory: Option<Spanned<Size>>,
    disk_size: Option<Spanned<Size>>,
}

/// A size as on the command line: text, or a bare number of MiB.
struct Size(ByteSize);

/// Text such as `15m`.
struct Span(Interval);

/// As [`Span`], or `off`.
struct OrOff(Option<Interval>);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size is text such as \"4G\", or a number of MiB")]
        enum Form {
            Text(String),
            Mib(u64),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => text.parse().map(Self).map_err(de::Error::custom),
            // Through text, where what is too large is refused.
            Form::Mib(mib) => mib.to_string().parse().map(Self).map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let interval = text.parse().map_err(|error| de::Error::custom(format!("{error}, or `off`")))?;
        Ok(Self(Some(interval)))
    }
}

pub(crate) fn parse(text: &str, paths: &LocalPaths, machine: &Machine) -> Result<Config, ConfigError> {
    let file = File { text, paths };
    let written: Written = toml::from_str(text)
        .map_err(|error| file.wrong(error.span().unwrap_or_default(), name_the_nearest(error.message())))?;
    let legal = "a legal name";
    let defaults = written.vm_defaults;
    let size = |size: Size| size.0;
    Ok(Config {
        path: paths.config.clone(),
        log_level: file.or(written.log_level, LogLevel::Info),
        vmm: file.or(written.vmm, VmmChoice::Auto),
        firecracker_bin: file.path(written.firecracker_bin)?,
        qemu_bin: file.path(written.qemu_bin)?,
        vsock_backend_bin: file.path(written.vsock_backend_bin)?,
        root_disk: file.or(written.root_disk, RootDiskChoice::Auto),
        default_image: file.or(written.default_image, IMAGE.parse().expect(legal)),
        default_kernel: file.or(written.default_kernel, KERNEL.parse().expect(legal)),
        ssh_key_path: file.path(written.ssh_key_path)?.unwrap_or(Setting::built_in(paths.ssh_key.clone())),
        auto_stop_stale_after: file
            .setting(written.auto_stop_stale_after, |after| after.0)
            .unwrap_or(Setting::built_in(None)),
        stats_poll_interval: file
            .setting(written.stats_poll_interval, |every| every.0)
            .unwrap_or(Setting::built_in(POLL)),
        debian_mirror: file.setting(written.debian_mirror, |url| url),
        registry_mirrors: file.mirrors(written.registry_mirrors)?,
        file_sync: written.file_sync.into_iter().map(|one| file.file_sync(one)).collect::<Result<_, _>>()?,
        vm_defaults: VmDefaults {
            vcpu: file.setting(defaults.vcpu, |n| n).unwrap_or(Setting::of_host(machine.usual_vcpu())),
            memory: file.setting(defaults.memory, size).unwrap_or(Setting::of_host(machine.usual_memory())),
            disk_size: file.setting(defaults.disk_size, size).unwrap_or(Setting::built_in(DISK_SIZE)),
        },
    })
}

/// What is needed to tell where in the file something is.
struct File<'a> {
    text: &'a str,
    paths: &'a LocalPaths,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count() + 1
    }

    fn wrong(&self, span: Range<usize>, message: String) -> ConfigError {
        ConfigError::Wrong { path: self.paths.config.clone(), line: self.line(&span), message }
    }

    fn setting<W, T>(&self, written: Option<Spanned<W>>, means: impl Fn(W) -> T) -> Option<Setting<T>> {
        let written = written?;
        let source = Source::Config { line: self.line(&written.span()) };
        Some(Setting { value: means(written.into_inner()), source })
    }

    fn or<T>(&self, written: Option<Spanned<T>>, built_in: T) -> Setting<T> {
        self.setting(written, |value| value).unwrap_or(Setting::built_in(built_in))
    }

    fn file_sync(&self, written: Spanned<WrittenFileSync>) -> Result<Setting<FileSync>, ConfigError> {
        let (span, one) = (written.span(), written.into_inner());
        let parsed = FileSync::parse(self.paths.home.as_deref(), &one.host, &one.guest, one.mode.as_deref());
        let source = Source::Config { line: self.line(&span) };
        parsed.map(|value| Setting { value, source }).map_err(|message| self.wrong(span, message))
    }

    /// A registry each, in the order of the file.
    fn mirrors(
        &self,
        written: BTreeMap<Spanned<String>, Vec<String>>,
    ) -> Result<Vec<Setting<RegistryMirrors>>, ConfigError> {
        let one = |(registry, mirrors): (Spanned<String>, Vec<String>)| {
            let parsed = RegistryMirrors::parse(registry.get_ref(), &mirrors);
            let source = Source::Config { line: self.line(&registry.span()) };
            let value = parsed.map_err(|message| self.wrong(registry.span(), message))?;
            Ok(Setting { value, source })
        };
        let mut settings = written.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        settings.sort_by_key(|setting| match setting.source {
            Source::Config { line } => line,
            Source::Host | Source::BuiltIn => 0,
        });
        Ok(settings)
    }

    /// A path that means the same from everywhere: absolute, or below the home.
    fn path(&self, written: Option<Spanned<PathBuf>>) -> Result<Option<Setting<PathBuf>>, ConfigError> {
        let Some(written) = written else { return Ok(None) };
        let (span, value) = (written.span(), written.into_inner());
        let absolute = match value.strip_prefix("~") {
            Ok(rest) => self.paths.home.as_deref().map(|home| home.join(rest)),
            Err(_) => value.is_absolute().then(|| value.clone()),
        };
        let Some(value) = absolute else {
            let message =
                format!("`{}` is not an absolute path and does not start with `~/`", value.display());
            return Err(self.wrong(span, message));
        };
        let value = value.components().collect();
        Ok(Some(Setting { value, source: Source::Config { line: self.line(&span) } }))
    }
}

/// Shortens serde's list of everything that would have been known to the one that was probably meant.
#[must_use]
pub fn name_the_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let kind = match message.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["unknown", "field"] => "key",
        ["unknown", "variant"] => "value",
        _ => return message.to_owned(),
    };
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    match nearest(unknown, quoted) {
        Some(nearest) => format!("unknown {kind} `{unknown}`; did you mean `{nearest}`?"),
        None => format!("unknown {kind} `{unknown}`"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use banger_protocol::local_paths::Environment;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::path::Path;

    pub(crate) fn read(text: &str) -> Result<Config, ConfigError> {
        let environment = Environment { home: Some(OsStr::new("/home/ada")), ..Environment::default() };
        let paths = LocalPaths::find(&environment).unwrap();
        parse(text, &paths, &Machine { cpus: 8, memory: ByteSize::mib(16 << 10) })
    }

    /// The keys that the parser would have known where it met an unknown one.
    pub(crate) fn known_keys(text: &str) -> Vec<String> {
        let Err(error) = toml::from_str::<Written>(text) else { panic!("it was accepted: {text}") };
        error.message().split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
    }

    /// Line and message of an error.
    fn complaint(text: &str) -> (usize, String) {
        match read(text) {
            Err(ConfigError::Wrong { path, line, message }) => {
                assert_eq!(path, Path::new("/home/ada/.config/banger/config.toml"));
                (line, message)
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error_with_its_line_and_the_nearest_known_one() {
        for (text, line, message) in [
            (
                "log_level = \"debug\"\n\ndefault_imag = \"x\"\n",
                3,
                "unknown key `default_imag`; did you mean `default_image`?",
            ),
            ("[vm_defaults]\nvcpus = 2\n", 2, "unknown key `vcpus`; did you mean `vcpu`?"),
            ("[vm_default]\n", 1, "unknown key `vm_default`; did you mean `vm_defaults`?"),
            ("log_level = \"inof\"", 1, "unknown value `inof`; did you mean `info`?"),
            ("\nvmm = \"firecraker\"", 2, "unknown value `firecraker`; did you mean `firecracker`?"),
        ] {
            assert_eq!(complaint(text), (line, message.to_owned()));
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_an_error_that_says_how_it_is_written() {
        for (text, line, words) in [
            ("\nstats_poll_interval = \"5\"", 2, "90s, 15m"),
            ("auto_stop_stale_after = \"never\"", 1, "or `off`"),
            ("auto_stop_stale_after = 3", 1, "expected a string"),
            ("[vm_defaults]\n\nmemory = \"much\"", 3, "512M, 4G"),
            ("[vm_defaults]\nmemory = true", 2, "number of MiB"),
            ("[vm_defaults]\ndisk_size = 99999999999999", 2, "is not a size"),
            ("[vm_defaults]\nvcpu = -1", 2, "-1"),
            ("[[file_sync]]\nhost = \"/etc/passwd\"\nguest = \"~/x\"", 1, "not in your home directory"),
            ("[[file_sync]]\nhost = \"~/x\"", 1, "missing field"),
            ("[registry_mirrors]\n\"docker.io\" = [\"ftp://x\"]", 2, "is not a mirror"),
            ("[registry_mirrors]\n\"a/b\" = []", 2, "is not a registry"),
            ("[registry_mirrors]\nlocalhost = \"x\"", 2, "expected a sequence"),
            ("qemu_bin = \"qemu\"", 1, "not an absolute path"),
            ("default_image = \"No Image\"", 1, "is not a"),
            ("vmm = ", 1, ""),
            ("vmm = \"qemu\"\nvmm = \"auto\"", 2, "duplicate"),
        ] {
            let (found, message) = complaint(text);
            assert!(found == line && message.contains(words), "{text:?}: {found}: {message}");
        }
    }

    #[test]
    fn without_a_file_everything_is_built_in_or_the_hosts() {
        let config = read("").unwrap();
        assert_eq!(config.default_image, Setting::built_in(IMAGE.parse().unwrap()));
        assert_eq!(config.vm_defaults.vcpu, Setting::of_host(2));
        assert_eq!(config.vm_defaults.memory, Setting::of_host(ByteSize::mib(2048)));
        assert_eq!(config.vm_defaults.disk_size, Setting::built_in(DISK_SIZE));
        assert_eq!(config.auto_stop_stale_after, Setting::built_in(None));
        assert_eq!(config.ssh_key_path.value, Path::new("/home/ada/.local/state/banger/ssh/id_ed25519"));
        assert_eq!((config.qemu_bin, config.debian_mirror), (None, None));
    }

    #[test]
    fn what_the_file_says_has_its_line() {
        let config = read("# mine\nvmm = \"qemu\"\nqemu_bin = \"~/bin/qemu\"\nauto_stop_stale_after = \"2h\"\n[vm_defaults]\nmemory = 700\ndisk_size = \"20G\"\n").unwrap();
        let line = |line| Source::Config { line };
        assert_eq!(config.vmm, Setting { value: VmmChoice::Qemu, source: line(2) });
        assert_eq!(config.qemu_bin, Some(Setting { value: "/home/ada/bin/qemu".into(), source: line(3) }));
        let stale = Setting { value: Some(Interval::seconds(7200)), source: line(4) };
        assert_eq!(config.auto_stop_stale_after, stale);
        assert_eq!(config.vm_defaults.memory, Setting { value: ByteSize::mib(700), source: line(6) });
        assert_eq!(config.vm_defaults.disk_size, Setting { value: ByteSize::mib(20 << 10), source: line(7) });
        assert_eq!(config.place(line(3)), "/home/ada/.config/banger/config.toml:3");
    }

    #[test]
    fn mirrors_are_asked_in_the_order_of_the_file_and_have_their_line() {
        let text = "[registry_mirrors]\n\"z.test\" = [\"one:1\", \"http://two.test/hub\"]\n\"docker.io\" = [\"x\"]\n";
        let config = read(text).unwrap();
        let told = |registry| config.mirrors_of(registry).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told("z.test"), ["one:1", "http://two.test/hub"]);
        assert_eq!((told("docker.io"), told("ghcr.io")), (vec!["x".to_owned()], Vec::new()));
        let lines: Vec<_> = config.registry_mirrors.iter().map(|setting| setting.source).collect();
        assert_eq!(lines, [Source::Config { line: 2 }, Source::Config { line: 3 }]);
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_one_that_cannot_be_read_an_error() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment { home: Some(home.path().as_os_str()), ..Environment::default() };
        let paths = LocalPaths::find(&environment).unwrap();
        assert!(Config::read(&paths).is_ok());
        std::fs::create_dir_all(&paths.config).unwrap();
        let error = Config::read(&paths).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }) && error.hint().contains("config.toml"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z_=\\[\\]\"'#\n 0-9~é]{0,80}") {
            let _ = read(&text);
        }
    }

    mod fuzz {
        use super::*;

        #[test]
        fn any_text_is_settings_or_an_error_with_a_hint() {
            let example = "vmm = \"qemu\"\n[vm_defaults]\nmemory = \"4G\"\n[[file_sync]]\nhost = \"~/x\"\nguest = \"~/x\"\n";
            banger_fuzz::feed(&[example.as_bytes()], |bytes| {
                if let Ok(text) = std::str::from_utf8(bytes)
                    && let Err(error) = read(text)
                {
                    assert!(!error.hint().is_empty());
                }
            });
        }
    }
}
