//! A kernel's files where a user has them: found, and put into an archive as packages have them.
//!
//! What is found in a folder is decided from the names in it ([`Listing`]); which of several is meant is the newest.
//! The archive is the same whenever the files are: sorted, owned by root, undated.

use banger_protocol::local_paths::{PrivateFolderError, make_private_folder};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The machines whose kernels can be booted.
const ARCH: &str = "x86_64";
/// The largest known kernel is a tenth of this.
const MOST_KERNEL: u64 = 512 << 20;
const METADATA: &str = "metadata.json";

/// What a kernel entry is to be made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KernelFiles {
    kernel: PathBuf,
    version: String,
    /// The folder of this version's modules.
    modules: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    pub distro: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelFilesError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Metadata { path: PathBuf, line: usize, message: String },
    #[error("no kernel found in {}: neither {METADATA}, nor boot/vmlinux-* or boot/vmlinuz-*", .0.display())]
    NoKernel(PathBuf),
    #[error("{} does not say which version it is", .0.display())]
    NoVersion(PathBuf),
    #[error("{} is version {kernel} and the modules are for {modules}", path.display())]
    OtherModules { path: PathBuf, kernel: String, modules: String },
    #[error("no kernel modules found in {}", .0.display())]
    NoModules(PathBuf),
    #[error("there is no temporary directory to work in")]
    Folder(#[source] PrivateFolderError),
    #[error("cannot create an archive in {}", folder.display())]
    Archive { folder: PathBuf, source: io::Error },
}

impl KernelFilesError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoVersion(_) => {
                Some("name the file vmlinuz-VERSION, with the version that `uname -r` prints")
            }
            Self::NoKernel(_) | Self::NoModules(_) => {
                Some("use the directory that contains `boot` and `lib`, as in an unpacked package")
            }
            Self::OtherModules { .. } => Some("use the modules that were built with this kernel"),
            _ => None,
        }
    }
}

/// What a folder's `metadata.json` may say; paths are below the folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Metadata {
    version: Option<String>,
    arch: Option<String>,
    distro: Option<String>,
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    modules: Option<PathBuf>,
}

/// Names in a folder that may be parts of kernels. Versions only.
#[derive(Debug, Default)]
struct Listing {
    /// File name and version.
    kernels: Vec<(String, String)>,
    initrds: Vec<(String, String)>,
    modules: Vec<String>,
}

/// Which of them are meant.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice<'a> {
    kernel: Option<&'a str>,
    initrd: Option<&'a str>,
    modules: Option<&'a str>,
}

impl Listing {
    /// The newest kernel that has modules, or the newest; its modules, or the newest; an initrd where there are no
    /// modules to make one of. Pure.
    fn choose(&self) -> Choice<'_> {
        let newest = |a: &&(String, String), b: &&(String, String)| version_key(&a.1).cmp(&version_key(&b.1));
        let has_modules = |kernel: &&(String, String)| self.modules.contains(&kernel.1);
        let kernel = self.kernels.iter().filter(has_modules).max_by(newest);
        let kernel = kernel.or_else(|| self.kernels.iter().max_by(newest));
        let own = kernel.and_then(|(_, version)| self.modules.iter().find(|modules| *modules == version));
        let modules = own.or_else(|| self.modules.iter().max_by_key(|version| version_key(version)));
        let initrd = || {
            let of_kernel = kernel.and_then(|(_, version)| self.initrds.iter().find(|(_, v)| v == version));
            of_kernel.or_else(|| self.initrds.iter().max_by(newest)).map(|(name, _)| name.as_str())
        };
        Choice {
            kernel: kernel.map(|(name, _)| name.as_str()),
            initrd: if modules.is_none() { initrd() } else { None },
            modules: modules.map(String::as_str),
        }
    }
}

impl KernelFiles {
    /// Files that were named one by one. `modules` is a folder of one version's modules, or one of such folders.
    pub(crate) fn named(
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        modules: Option<&Path>,
    ) -> Result<Self, KernelFilesError> {
        let modules = modules.map(one_version).transpose()?;
        let version = version_of(&kernel, modules.as_deref(), None)?;
        Ok(Self { kernel, version, modules, initrd, distro: None })
    }

    /// What a folder holds.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, KernelFilesError> {
        let told = read_metadata(folder)?.unwrap_or_default();
        let lib = ["lib/modules", "usr/lib/modules"].map(|lib| folder.join(lib));
        let lib = lib.into_iter().find(|lib| lib.is_dir());
        let listing = list(folder, lib.as_deref())?;
        let choice = listing.choose();
        let boot = |name: &str| folder.join("boot").join(name);
        let below = |path: &PathBuf| folder.join(path);
        let kernel = told.kernel.as_ref().map(below).or_else(|| choice.kernel.map(boot));
        let kernel = kernel.ok_or_else(|| KernelFilesError::NoKernel(folder.to_owned()))?;
        let modules = match &told.modules {
            Some(path) => Some(one_version(&folder.join(path))?),
            None => choice.modules.zip(lib).map(|(version, lib)| lib.join(version)),
        };
        let initrd = told.initrd.as_ref().map(below);
        let initrd = initrd.or_else(|| modules.is_none().then(|| choice.initrd.map(boot)).flatten());
        let version = version_of(&kernel, modules.as_deref(), told.version)?;
        Ok(Self { kernel, version, modules, initrd, distro: told.distro })
    }

    /// All but the initrd in an archive that has no name.
    pub(crate) fn archive(&self, cache: &Path) -> Result<File, KernelFilesError> {
        let uid = rustix::process::geteuid().as_raw();
        make_private_folder(cache, uid).map_err(KernelFilesError::Folder)?;
        let failed = |source| KernelFilesError::Archive { folder: cache.to_owned(), source };
        let mut archive = tar::Builder::new(tempfile::tempfile_in(cache).map_err(failed)?);
        append(&mut archive, &self.kernel, &format!("boot/vmlinuz-{}", self.version))?;
        let config = format!("config-{}", self.version);
        let beside = self.kernel.with_file_name(&config);
        if beside.is_file() {
            append(&mut archive, &beside, &format!("boot/{config}"))?;
        }
        if let Some(modules) = &self.modules {
            append_folder(&mut archive, modules, &format!("lib/modules/{}", self.version))?;
        }
        archive.into_inner().map_err(failed)
    }
}

/// Opens the initrd that was named.
pub(crate) fn open(path: &Path) -> Result<File, KernelFilesError> {
    File::open(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> KernelFilesError {
    let path = path.to_owned();
    move |source| KernelFilesError::Read { path, source }
}

fn read_metadata(folder: &Path) -> Result<Option<Metadata>, KernelFilesError> {
    let path = folder.join(METADATA);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path)(error)),
    };
    let wrong = |line, message| KernelFilesError::Metadata { path: path.clone(), line, message };
    let told: Metadata =
        serde_json::from_str(&text).map_err(|error| wrong(error.line(), error.to_string()))?;
    if let Some(arch) = told.arch.as_deref().filter(|arch| *arch != ARCH) {
        return Err(wrong(1, format!("`arch` is `{arch}`: only {ARCH} can be booted here")));
    }
    for named in [&told.kernel, &told.initrd, &told.modules].into_iter().flatten() {
        let inside = named.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(wrong(1, format!("`{}` is outside the directory", named.display())));
        }
    }
    Ok(Some(told))
}

fn list(folder: &Path, lib: Option<&Path>) -> Result<Listing, KernelFilesError> {
    let mut listing = Listing::default();
    let boot = folder.join("boot");
    for name in if boot.is_dir() { names_in(&boot)? } else { Vec::new() } {
        let with = |prefixes: &[&str]| {
            let version = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
            let version = version.strip_suffix(".img").unwrap_or(version);
            is_version(version).then(|| (name.clone(), version.to_owned()))
        };
        listing.kernels.extend(with(&["vmlinux-", "vmlinuz-"]));
        listing.initrds.extend(with(&["initramfs-", "initrd.img-", "initrd-"]));
    }
    if let Some(lib) = lib {
        listing.modules = names_in(lib)?.into_iter().filter(|name| is_version(name)).collect();
    }
    Ok(listing)
}

/// Sorted; names that are no text are nobody's version.
fn names_in(folder: &Path) -> Result<Vec<String>, KernelFilesError> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(unreadable(folder))?;
    let mut names: Vec<_> =
        entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The folder of one version: this one, or the newest in it.
fn one_version(folder: &Path) -> Result<PathBuf, KernelFilesError> {
    if ["kernel", "modules.order", "modules.dep"].iter().any(|mark| folder.join(mark).exists()) {
        return Ok(folder.to_owned());
    }
    let versions =
        names_in(folder)?.into_iter().filter(|name| is_version(name) && folder.join(name).is_dir());
    let newest = versions.max_by_key(|version| version_key(version));
    newest.map(|newest| folder.join(newest)).ok_or_else(|| KernelFilesError::NoModules(folder.to_owned()))
}

/// What the kernel itself says, else its name, else its modules; all that say something must agree.
fn version_of(
    kernel: &Path,
    modules: Option<&Path>,
    told: Option<String>,
) -> Result<String, KernelFilesError> {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let of_modules = modules.and_then(name).filter(|name| is_version(name));
    let of_file = || {
        let name = name(kernel)?;
        let version = ["vmlinux-", "vmlinuz-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        is_version(version).then(|| version.to_owned())
    };
    let mut bytes = Vec::new();
    let read = File::open(kernel).and_then(|file| file.take(MOST_KERNEL).read_to_end(&mut bytes));
    read.map_err(unreadable(kernel))?;
    let version = told.or_else(|| version_in(&bytes)).or_else(of_file).or_else(|| of_modules.clone());
    let version = version.ok_or_else(|| KernelFilesError::NoVersion(kernel.to_owned()))?;
    match of_modules {
        Some(modules) if modules != version => {
            Err(KernelFilesError::OtherModules { path: kernel.to_owned(), kernel: version, modules })
        }
        _ => Ok(version),
    }
}

/// The version a kernel has in it: a bzImage where its header says (Documentation/arch/x86/boot.rst,
/// "kernel_version"), an ELF file in the line that it prints first. Pure.
fn version_in(bytes: &[u8]) -> Option<String> {
    const MAGIC: usize = 0x202;
    const VERSION: usize = 0x20e;
    const BANNER: &[u8] = b"Linux version ";
    let text = if bytes.get(MAGIC..MAGIC + 4) == Some(b"HdrS") {
        let offset = u16::from_le_bytes([*bytes.get(VERSION)?, *bytes.get(VERSION + 1)?]);
        // Relative to the end of the first sector; zero says that there is none.
        bytes.get(usize::from(offset) + 0x200..).filter(|_| offset != 0)?
    } else {
        // The format string of the same line may come first: it is no version.
        let starts = bytes.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER);
        let behind = starts.map(|(at, window)| &bytes[at + window.len()..]);
        behind.into_iter().find(|text| text.first().is_some_and(u8::is_ascii_digit))?
    };
    let word: Vec<u8> = text.iter().copied().take(64).take_while(|byte| byte.is_ascii_graphic()).collect();
    String::from_utf8(word).ok().filter(|version| is_version(version))
}

/// It becomes part of paths.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
}

/// Digits compare as numbers: 6.1.0-9 is older than 6.1.0-10.
fn version_key(version: &str) -> Vec<(u64, String)> {
    let part = |part: &str| {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        (part[..digits].parse().unwrap_or(0), part[digits..].to_owned())
    };
    version.split(['.', '-', '+', '~']).map(part).collect()
}

fn append_folder(
    archive: &mut tar::Builder<File>,
    folder: &Path,
    name: &str,
) -> Result<(), KernelFilesError> {
    for entry in names_in(folder)? {
        let (path, name) = (folder.join(&entry), format!("{name}/{entry}"));
        let about = std::fs::symlink_metadata(&path).map_err(unreadable(&path))?;
        // Links lead to the headers on the machine that built it.
        if about.is_dir() {
            append_folder(archive, &path, &name)?;
        } else if about.is_file() {
            append(archive, &path, &name)?;
        }
    }
    Ok(())
}

fn append(archive: &mut tar::Builder<File>, path: &Path, name: &str) -> Result<(), KernelFilesError> {
    let mut work = || {
        let file = File::open(path)?;
        let about = file.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(about.len());
        header.set_mode(if about.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, file)
    };
    work().map_err(unreadable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(kernels: &[&str], initrds: &[&str], modules: &[&str]) -> Listing {
        let named = |prefix: &str, versions: &[&str]| {
            versions.iter().map(|v| (format!("{prefix}{v}"), (*v).to_owned())).collect()
        };
        Listing {
            kernels: named("vmlinuz-", kernels),
            initrds: named("initramfs-", initrds),
            modules: modules.iter().map(|&v| v.to_owned()).collect(),
        }
    }

    #[test]
    fn the_newest_kernel_with_modules_is_meant_and_an_initrd_only_where_there_are_none() {
        for (kernels, initrds, modules, wanted) in [
            (
                &["6.1.0-9", "6.1.0-10"][..],
                &[][..],
                &["6.1.0-9"][..],
                (Some("vmlinuz-6.1.0-9"), None, Some("6.1.0-9")),
            ),
            (
                &["6.1.0-9", "6.1.0-10"],
                &[],
                &["6.1.0-9", "6.1.0-10"],
                (Some("vmlinuz-6.1.0-10"), None, Some("6.1.0-10")),
            ),
            (&["6.1", "6.2"], &["6.1", "6.2"], &[], (Some("vmlinuz-6.2"), Some("initramfs-6.2"), None)),
            (&["6.1"], &["6.1"], &["6.1"], (Some("vmlinuz-6.1"), None, Some("6.1"))),
            (&["6.1"], &[], &["5.9", "5.10"], (Some("vmlinuz-6.1"), None, Some("5.10"))),
            (&[], &["6.1"], &["6.1"], (None, None, Some("6.1"))),
        ] {
            let listing = listing(kernels, initrds, modules);
            let (kernel, initrd, modules) = wanted;
            assert_eq!(listing.choose(), Choice { kernel, initrd, modules }, "{listing:?}");
        }
    }

    #[test]
    fn a_kernel_says_itself_which_version_it_is() {
        let mut image = vec![0; 0x800];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        image[0x500..0x518].copy_from_slice(b"6.1.0-41-cloud (x@y) #1 ");
        assert_eq!(version_in(&image).as_deref(), Some("6.1.0-41-cloud"));
        image[0x20e..0x210].copy_from_slice(&[0, 0]);
        assert_eq!(version_in(&image), None);
        image[0x20e..0x210].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(version_in(&image), None);
        let elf = b"\x7fELF..Linux version %s (%s)..\0Linux version 6.12.3 (gcc)";
        assert_eq!(version_in(elf).as_deref(), Some("6.12.3"));
        for none in [&b""[..], b"\x7fELF", b"Linux version ", b"Linux version 6/../x"] {
            assert_eq!(version_in(none), None);
        }
    }

    /// A folder with these files, each holding its own name.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn what_metadata_says_goes_before_what_names_say() {
        let place = folder(&["boot/vmlinuz-6.1", "lib/modules/6.1/kernel/a.ko", "my/kernel", "my/initrd"]);
        let found = KernelFiles::in_folder(place.path()).unwrap();
        assert_eq!(found.version, "6.1");
        assert_eq!((&found.initrd, &found.distro), (&None, &None));
        let told = r#"{"kernel": "my/kernel", "initrd": "my/initrd", "version": "6.1", "distro": "mine", "arch": "x86_64"}"#;
        std::fs::write(place.path().join(METADATA), told).unwrap();
        let found = KernelFiles::in_folder(place.path()).unwrap();
        assert_eq!(found.kernel, place.path().join("my/kernel"));
        assert_eq!(found.initrd, Some(place.path().join("my/initrd")));
        assert_eq!(found.distro.as_deref(), Some("mine"));
    }

    #[test]
    fn metadata_that_is_wrong_is_refused_with_its_line() {
        for (told, reason) in [
            ("{\n\"kernal\": \"x\"}", "metadata.json:2: unknown field `kernal`"),
            (r#"{"kernel": "../x"}"#, "`../x` is outside the directory"),
            (r#"{"kernel": "/etc/x"}"#, "`/etc/x` is outside the directory"),
            (r#"{"arch": "riscv64"}"#, "only x86_64"),
            ("", "metadata.json:1"),
        ] {
            let place = folder(&["boot/vmlinuz-6.1"]);
            std::fs::write(place.path().join(METADATA), told).unwrap();
            let error = KernelFiles::in_folder(place.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn modules_of_another_kernel_are_refused() {
        let place = folder(&["boot/vmlinuz-6.1", "lib/modules/6.2/kernel/a.ko"]);
        let error = KernelFiles::in_folder(place.path()).unwrap_err();
        assert!(
            matches!(&error, KernelFilesError::OtherModules { kernel, modules, .. } if kernel == "6.1" && modules == "6.2")
        );
    }

    #[test]
    fn the_same_files_make_the_same_archive_whatever_their_dates() {
        let place = folder(&[
            "vmlinuz-6.1",
            "config-6.1",
            "modules/kernel/b.ko",
            "modules/kernel/a.ko",
            "modules/modules.order",
        ]);
        std::os::unix::fs::symlink("/usr/src", place.path().join("modules/build")).unwrap();
        let make = || {
            let (kernel, modules) = (place.path().join("vmlinuz-6.1"), place.path().join("modules"));
            let files = KernelFiles::named(kernel, None, Some(&modules)).unwrap();
            let mut archive = files.archive(&place.path().join("cache")).unwrap();
            let mut bytes = Vec::new();
            io::Seek::rewind(&mut archive).unwrap();
            archive.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let first = make();
        File::open(place.path().join("vmlinuz-6.1")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(first == make());
        let mut archive = tar::Archive::new(first.as_slice());
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(
            names,
            [
                "boot/vmlinuz-6.1",
                "boot/config-6.1",
                "lib/modules/6.1/kernel/a.ko",
                "lib/modules/6.1/kernel/b.ko",
                "lib/modules/6.1/modules.order"
            ]
        );
    }
}
