//! The disk a test host boots from: Debian's packages and two scripts, kept for as long as none of these change.
//!
//! It is made by an ordinary user as well as by root, in the user namespace that mmdebstrap makes. Nothing is ever
//! written to a finished disk: hosts boot from throw-away overlays of it. A key to log in with and the host's own
//! key belong to the disk and are made with it.

use super::space;
use crate::place::Place;
use crate::tool::Tool;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SUITE: &str = "bookworm";

const PACKAGES: &[&str] = &[
    // The system, as somebody's Debian has it.
    "systemd-sysv",
    "systemd-resolved",
    "libpam-systemd",
    "dbus",
    "udev",
    "kmod",
    "sudo",
    "procps",
    "linux-image-cloud-amd64",
    "zstd",
    // Reaching it.
    "openssh-server",
    "rsync",
    // What banger uses.
    "qemu-system-x86",
    "dmsetup",
    "lvm2",
    "nftables",
    "iproute2",
    "passt",
    "uidmap",
    "mmdebstrap",
    "e2fsprogs",
    "git",
    "openssh-client",
    "ca-certificates",
    // What its tests use.
    "python3-minimal",
    "perl",
    "jq",
    "curl",
    "busybox-static",
    "xfsprogs",
    "strace",
    // What it has to get along with. They are masked until a test starts them.
    "docker.io",
    "firewalld",
];

const FINISH: &str = include_str!("finish.sh");
const MAKE_DISK: &str = include_str!("make-disk.sh");

/// What the disk looks like to the host; it costs only what is written to it.
const DISK_SIZE: &str = "16G";

/// What one build needs for a while, and what stays of it.
const SPACE_TO_BUILD: u64 = 4 << 30;
const SPACE_KEPT: u64 = 2 << 30;

/// Disks of other recipes are removed after this long without use.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// A finished disk with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    folder: PathBuf,
}

impl Image {
    /// The image of this recipe among others, whether it has been made or not.
    pub(super) fn current(hosts: &Path) -> Self {
        Self::named(hosts, &recipe_key())
    }

    pub(super) fn named(hosts: &Path, key: &str) -> Self {
        Self { folder: images(hosts).join(key) }
    }

    pub(super) fn key(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) fn is_made(&self) -> bool {
        self.disk().exists()
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    pub(super) fn login_key(&self) -> PathBuf {
        self.folder.join("login-key")
    }

    pub(super) fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }
}

fn images(hosts: &Path) -> PathBuf {
    hosts.join("images")
}

/// Makes the image unless it is there. The caller holds the lock of `hosts`.
pub(super) fn ensure(place: &Place, hosts: &Path) -> Result<Image> {
    let image = Image::current(hosts);
    if !image.is_made() {
        remove_unused(&images(hosts))?;
        make(place, &image).context("the test host's disk was not created")?;
    }
    File::create(image.folder.join("used")).context("marking the test host's disk as used")?;
    Ok(image)
}

fn make(place: &Place, image: &Image) -> Result<()> {
    println!(
        "host: making the test host's disk of Debian packages, once, some minutes: {}",
        image.folder.display()
    );
    let unfinished = Image { folder: image.folder.with_extension("unfinished") };
    if unfinished.folder.exists() {
        fs::remove_dir_all(&unfinished.folder)
            .with_context(|| format!("removing {}", unfinished.folder.display()))?;
    }
    fs::create_dir_all(&unfinished.folder)
        .with_context(|| format!("making {}", unfinished.folder.display()))?;
    space::expect(place, &unfinished.folder, SPACE_KEPT)?;
    space::expect(place, &std::env::temp_dir(), SPACE_TO_BUILD)?;

    let key = unfinished.login_key();
    Tool::find(place, "ssh-keygen")?
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "banger's test host", "-f"])
        .args([&key])
        .run()?;
    let public = fs::read_to_string(key.with_extension("pub")).context("reading the key just made")?;
    Tool::find(place, "mmdebstrap")?
        .args(packages_to_disk(&unfinished.folder))
        .env("BANGER_HOST_KEY", public.trim())
        .run()?;
    Tool::find(place, "resize2fs")?
        .args(["-f".as_ref(), unfinished.disk().as_os_str(), DISK_SIZE.as_ref()])
        .run()?;

    let host_key =
        fs::read_to_string(unfinished.folder.join("host-key.pub")).context("reading the host's key")?;
    fs::write(unfinished.known_hosts(), known_hosts(&host_key)).context("writing down the host's key")?;
    fs::rename(&unfinished.folder, &image.folder)
        .with_context(|| format!("publishing {}", image.folder.display()))
}

/// A line that holds at whatever port the host will be found.
fn known_hosts(host_key: &str) -> String {
    format!("{} {}\n", super::login::KNOWN_AS, host_key.trim())
}

/// mmdebstrap's arguments. The archive it exists to make is not wanted; the disk leaves by way of hooks.
fn packages_to_disk(folder: &Path) -> Vec<String> {
    let out = |inside: &str, name: &str| {
        format!("--customize-hook=download {inside} {}", shell_word(&folder.join(name).to_string_lossy()))
    };
    let mut arguments = recipe();
    arguments.extend([
        out("/disk.img", "disk.img"),
        out("/vmlinuz-to-boot", "vmlinuz"),
        out("/initrd-to-boot", "initrd.img"),
        out("/etc/ssh/ssh_host_ed25519_key.pub", "host-key.pub"),
    ]);
    arguments.extend([SUITE, "-"].map(str::to_owned));
    arguments
}

/// Everything that decides what is on the disk.
fn recipe() -> Vec<String> {
    vec![
        "--mode=unshare".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=null".to_owned(),
        format!("--include={}", PACKAGES.join(",")),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
        "--aptopt=Acquire::Languages \"none\"".to_owned(),
        "--aptopt=Acquire::Retries \"3\"".to_owned(),
        "--dpkgopt=path-exclude=/usr/share/doc/*".to_owned(),
        "--dpkgopt=path-exclude=/usr/share/man/*".to_owned(),
        "--dpkgopt=path-exclude=/usr/share/locale/*".to_owned(),
        format!("--customize-hook={FINISH}"),
        format!("--customize-hook={MAKE_DISK}"),
    ]
}

fn recipe_key() -> String {
    // The same in every run of one compiler; another compiler may make another disk, which costs minutes.
    let mut hasher = DefaultHasher::new();
    (SUITE, DISK_SIZE, recipe()).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// For the words of a hook that mmdebstrap takes apart as a shell does.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn remove_unused(images: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(images) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("listing {}", images.display()))?.path();
        // One that was never finished was never marked as used.
        let used = path.join("used").metadata().or_else(|_| path.metadata()).and_then(|meta| meta.modified());
        if used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > KEPT)) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_disk_goes_to_decides_nothing_about_it() {
        assert_eq!(recipe_key(), recipe_key());
        let arguments = packages_to_disk(Path::new("/a folder"));
        assert_eq!(arguments[..recipe().len()], recipe());
        assert_eq!(arguments[arguments.len() - 2..], ["bookworm", "-"]);
        assert!(arguments.contains(&"--customize-hook=download /disk.img '/a folder/disk.img'".to_owned()));
    }

    #[test]
    fn a_disk_that_nobody_uses_any_longer_goes_finished_or_not() {
        let images = std::env::temp_dir().join(format!("xtask-images-{}", std::process::id()));
        let long_ago = std::time::SystemTime::now() - KEPT - Duration::from_secs(60);
        for (name, marked, modified) in [
            ("in-use", true, std::time::SystemTime::now()),
            ("unused", true, long_ago),
            ("old.unfinished", false, long_ago),
            ("new.unfinished", false, std::time::SystemTime::now()),
        ] {
            let folder = images.join(name);
            fs::create_dir_all(&folder).expect("the temporary folder is writable");
            let dated = if marked { folder.join("used") } else { folder.clone() };
            let file = if marked { File::create(&dated) } else { File::open(&dated) };
            file.and_then(|file| file.set_modified(modified)).expect("our own");
        }
        remove_unused(&images).expect("our own");
        let mut left: Vec<_> = fs::read_dir(&images)
            .expect("our own")
            .map(|entry| entry.expect("our own").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["in-use", "new.unfinished"]);
        fs::remove_dir_all(images).expect("our own");
    }

    #[test]
    fn the_host_is_known_by_a_name_and_not_by_its_port() {
        assert_eq!(known_hosts("ssh-ed25519 AAAA root@x\n"), "banger-test-host ssh-ed25519 AAAA root@x\n");
    }
}
