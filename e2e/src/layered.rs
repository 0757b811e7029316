//! A Debian in layers, made by other people's tools: packages by `mmdebstrap`, put into a layout by `umoci`.
//!
//! On the packages' layer lie others that do all that layers can do to each other. It is kept beside the images of
//! the guest tests, under a key of its recipe; see [`crate::images`].

use crate::{LayerTar, Sandbox, images};
use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A Debian of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debian {
    /// The essential packages and few more: some 10,000 names, 200 MiB.
    Small,
    /// As large as images get that people work in: some 65,000 names, 1.2 GiB.
    Large,
    /// What runs containers, and nothing odd.
    WithDocker,
    /// Nothing that boots. Its packages are to be had from a folder of its own, and from nowhere else.
    WithoutInit,
}

/// Fetches what a guest is to install by itself, and has its apt know of nothing else. For mmdebstrap.
const BRING_PACKAGES: &str = "set -e
APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get --yes --no-install-recommends --download-only install \\
    systemd systemd-sysv dbus openssh-server >&2
mkdir \"$1/srv/packages\"
mv \"$1\"/var/cache/apt/archives/*.deb \"$1/srv/packages/\"
cd \"$1/srv/packages\"
for deb in *.deb; do
    dpkg-deb --field \"$deb\"
    echo \"Filename: ./$deb\"
    echo \"Size: $(stat -c %s \"$deb\")\"
    echo \"SHA256: $(sha256sum \"$deb\" | cut -d ' ' -f 1)\"
    echo
done > Packages
rm -rf \"$1\"/etc/apt/sources.list.d/* \"$1\"/var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/packages ./' > \"$1/etc/apt/sources.list\"
";

impl Debian {
    /// The large one where `BANGER_E2E_LARGE` is set: making it takes minutes and 2 GiB.
    #[must_use]
    pub fn wished() -> Self {
        if std::env::var_os("BANGER_E2E_LARGE").is_some() { Self::Large } else { Self::Small }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::Small => "libcap2-bin,iputils-ping",
            Self::Large => {
                "libcap2-bin,iputils-ping,systemd-sysv,golang-1.19,linux-headers-amd64,libboost1.74-dev,gcc,\
                 python3,perl,vim,git,openssh-server"
            }
            Self::WithoutInit => "ca-certificates",
            Self::WithDocker => "systemd-sysv,dbus,kmod,iproute2,iptables,apparmor,docker.io",
        }
    }

    /// Its layout, in which it is tagged `v1`; made now if this machine has none.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn layout(self, sandbox: &Sandbox) -> PathBuf {
        self.cached(sandbox).unwrap_or_else(|error| panic!("no Debian in layers: {error:#}"))
    }

    fn cached(self, sandbox: &Sandbox) -> Result<PathBuf> {
        let folder = images::cache().join("layouts");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("making the lock of the layouts")?;
        flock(&lock, FlockOperation::LockExclusive).context("locking the layouts")?;
        let mut recipe = Sha256::new();
        recipe.update(include_bytes!("layered.rs"));
        recipe.update(self.packages());
        let layout = folder.join(hex::encode(&recipe.finalize()[..8]));
        if !layout.exists() {
            let unfinished = layout.with_extension("unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).context("removing what was not finished")?;
            }
            self.make(sandbox, &unfinished);
            fs::rename(&unfinished, &layout).context("publishing the layout")?;
        }
        Ok(layout)
    }

    fn make(self, sandbox: &Sandbox, layout: &Path) {
        eprintln!("making a Debian in layers, once: {}", layout.display());
        let at = |path: &Path| path.display().to_string();
        let run = |tool: &str, words: &[&str]| {
            drop(sandbox.tool(tool, words).limit(Duration::from_secs(900)).run().expect_success());
        };
        let scratch = sandbox.home().join("layered");
        fs::create_dir(&scratch).expect("the sandbox is writable");
        let packages = scratch.join("packages.tar");
        let mode = if rustix::process::geteuid().is_root() { "--mode=root" } else { "--mode=unshare" };
        let include = format!("--include={}", self.packages());
        let apt = ["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""];
        let hook = format!("--customize-hook={BRING_PACKAGES}");
        let mut words = vec![mode, "--variant=minbase", apt[0], apt[1], &include];
        if self == Self::WithoutInit {
            words.push(&hook);
        }
        let archive = at(&packages);
        words.extend(["bookworm", &archive]);
        run("mmdebstrap", &words);

        let image = format!("{}:v1", at(layout));
        run("umoci", &["init", "--layout", &at(layout)]);
        run("umoci", &["new", "--image", &image]);
        run("umoci", &["raw", "add-layer", "--image", &image, &at(&packages)]);
        if matches!(self, Self::WithDocker | Self::WithoutInit) {
            fs::remove_dir_all(&scratch).expect("the sandbox is writable");
            return;
        }
        for (number, layer) in [odd_files(), changes_of_mind()].into_iter().enumerate() {
            let file = scratch.join(format!("{number}.tar"));
            fs::write(&file, layer.bytes()).expect("the sandbox is writable");
            run("umoci", &["raw", "add-layer", "--image", &image, &at(&file)]);
        }
        // And layers of its own writing.
        let more = scratch.join("more");
        fs::create_dir_all(more.join("deep/er")).expect("the sandbox is writable");
        fs::write(more.join("deep/er/file"), "inserted").expect("the sandbox is writable");
        fs::hard_link(more.join("deep/er/file"), more.join("linked")).expect("the sandbox is writable");
        run("umoci", &["insert", "--rootless", "--image", &image, "--opaque", &at(&more), "/etc/skel"]);
        run("umoci", &["insert", "--rootless", "--image", &image, "--whiteout", "/usr/share/bug"]);
        fs::remove_dir_all(&scratch).expect("the sandbox is writable");
    }
}

/// `cap_net_raw+ep`, version 2 (linux/capability.h).
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// One of every kind, with all that can be said about it.
fn odd_files() -> LayerTar {
    let long_folder = format!("opt/odd/{}/", "d".repeat(200));
    let long = format!("{long_folder}{}", "f".repeat(255));
    let target = format!("/opt/{}", "t/".repeat(1500));
    let with = |time: &'static str| vec![("mtime", time.as_bytes())];
    let attributes: Vec<(&str, &[u8])> = vec![
        ("SCHILY.xattr.user.note", b"two\nlines=yes\0end"),
        ("SCHILY.xattr.trusted.secret", b"\xff\x00\xfe"),
        ("mtime", b"1700000000.123456789"),
    ];
    let (access, default) = (access_control_list(5), access_control_list(7));
    let lists: Vec<(&str, &[u8])> = vec![
        ("SCHILY.xattr.system.posix_acl_access", &access),
        ("SCHILY.xattr.system.posix_acl_default", &default),
        ("mtime", b"1234567890.000000001"),
    ];
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    LayerTar::new()
        .with(&with("1600000000.5"), Directory, "opt/odd/", "", 0o1777, b"")
        .with(&attributes, Regular, "opt/odd/attributes", "", 0o640, b"content")
        .with(&lists, Directory, "opt/odd/lists/", "", 0o750, b"")
        .with(&lists[..1], Regular, "opt/odd/listed", "", 0o650, b"x")
        .with(&[("SCHILY.xattr.security.capability", CAPABILITY)], Regular, "opt/odd/ping", "", 0o755, b"#!")
        .with(&with("-1.25"), Regular, "opt/odd/before-1970", "", 0o644, b"old")
        .with(&with("4000000000.999999999"), Regular, "opt/odd/after-2038", "", 0o644, b"new")
        .with(&[("uid", b"4000000000"), ("gid", b"100000")], Regular, "opt/odd/owned", "", 0o6755, b"su")
        .with(&[("path", long_folder.as_bytes())], Directory, "short/", "", 0o700, b"")
        .with(&[("path", long.as_bytes())], Regular, "short", "", 0o600, b"long")
        .with(&[("linkpath", target.as_bytes())], Symlink, "opt/odd/long-target", "x", 0o777, b"")
        .with(&with("1500000000.25"), Symlink, "opt/odd/dangling", "../../nowhere", 0o777, b"")
        .with(&with("1"), Regular, "opt/odd/na\u{ef}ve \u{2603}", "", 0o444, b"")
        .with(&[], Link, "opt/odd/attributes-too", "opt/odd/attributes", 0o644, b"")
        .with(&[], Link, "opt/odd/shell", "usr/bin/dash", 0o644, b"")
        .with(&[], Link, "usr/bin/zz-link", "./usr/bin/dash", 0o644, b"")
        .with(&with("2.5"), Fifo, "opt/odd/fifo", "", 0o622, b"")
        .device(Char, "opt/odd/null", 1, 3)
        .device(Block, "opt/odd/loop", 7, 300)
        .with(&with("3"), Symlink, "opt/changing", "odd", 0o777, b"")
        .with(&with("3"), Directory, "opt/steady/", "", 0o755, b"")
        .with(&with("3"), Regular, "opt/steady/below", "", 0o644, b"below")
        .with(&with("3"), Regular, "opt/file-or-folder", "", 0o644, b"file")
        .with(&with("4"), Regular, "opt/twice", "", 0o644, b"first")
        .with(&with("5"), Regular, "opt/twice", "", 0o600, b"second and last")
        .with(&with("6"), Regular, "root/.profile", "", 0o600, b"# mine\n")
}

/// What only later layers can do: hide, replace, change their mind about what something is.
fn changes_of_mind() -> LayerTar {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let at = |time: &'static str| vec![("mtime", time.as_bytes())];
    LayerTar::new()
        // A link becomes a folder, a folder a link, a file a folder.
        .with(&at("10"), Directory, "opt/changing/", "", 0o711, b"")
        .with(&at("11.75"), Regular, "opt/changing/inside", "", 0o644, b"a folder now")
        .with(&at("12"), Symlink, "opt/steady", "changing", 0o777, b"")
        .with(&at("13"), Directory, "opt/file-or-folder/", "", 0o2755, b"")
        .with(&at("14"), Regular, "opt/file-or-folder/x", "", 0o644, b"")
        .with(&[], Regular, "etc/.wh.issue", "", 0o644, b"")
        .with(&[], Regular, "usr/share/.wh.base-files", "", 0o644, b"")
        .with(&[], Regular, "usr/share/common-licenses/.wh..wh..opq", "", 0o644, b"")
        .with(&at("15"), Regular, "usr/share/common-licenses/ours", "", 0o644, b"only this")
        .with(&at("15.5"), Directory, "usr/share/common-licenses/", "", 0o755, b"")
        // One name of three gets other content; the others keep theirs.
        .with(&at("16"), Regular, "opt/odd/shell", "", 0o755, b"#!/bin/false")
        .with(&[], Link, "opt/odd/from-below", "opt/odd/owned", 0o644, b"")
        // A folder only gets another mode.
        .with(&at("17.000000017"), Directory, "usr/local/", "", 0o2775, b"")
}

/// user::rw- user:1000:MODE group::r-x mask::r-x other::---, as getxattr(2) gives it.
fn access_control_list(mode: u16) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, mode, id) in
        [(1_u16, 6, u32::MAX), (2, mode, 1000), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), mode.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}
