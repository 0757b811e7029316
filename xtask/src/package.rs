//! A Debian package of banger: the programs, the units, and what `dpkg` runs around them.
//!
//! ```text
//!  /usr/bin/banger   /usr/lib/banger/{bangerd,bangerd-root,banger-vsock-agent}   /usr/lib/systemd/system/bangerd*
//! ```
//!
//! The package starts nothing: whose the services are is said by `banger system install`. An upgrade runs that again, and
//! removing the package runs `banger system uninstall`. Debian's own judge of packages, lintian, looks at what was built,
//! and one with an error is none.

use crate::build::{self, Profile};
use crate::place::Place;
use crate::tool::{Tool, search};
use anyhow::{Context as _, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// In the units, where the programs are; the command has a copy of the units and does the same.
const PROGRAMS: &str = "@PROGRAMS@";
const LIBRARY: &str = "usr/lib/banger";
const UNITS: [&str; 4] = ["bangerd.service", "bangerd.socket", "bangerd-root.service", "bangerd-root.socket"];
/// What keeps the host from looking into guests' disks.
const RULES: &str = "58-banger.rules";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const DOCUMENTATION: &str = "usr/share/doc/banger";
/// A section of the manual.
const MANUAL: &str = "usr/share/man/man1";
/// Where lintian is told what is as it is on purpose.
const OVERRIDES: &str = "usr/share/lintian/overrides/banger";
/// Whom to write to, where dpkg wants to know.
const MAIL: &str = "banger@users.noreply.example.org";
/// What is brought along where it is at hand; Debian does not have it.
const BACKEND: &str = "vhost-device-vsock";

/// Builds it and returns its file.
pub(crate) fn run(place: &Place) -> Result<PathBuf> {
    let programs = build::all(place, Profile::Release)?;
    let folder = place.target.join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let tree = folder.join("tree");
    put_program(place, &programs.join("banger"), &tree.join("usr/bin/banger"))?;
    for name in ["bangerd", "bangerd-root", "banger-vsock-agent"] {
        put_program(place, &programs.join(name), &tree.join(LIBRARY).join(name))?;
    }
    if let Some(backend) = search(place, BACKEND) {
        put_program(place, &backend, &tree.join(LIBRARY).join(BACKEND))?;
    }
    let packaging = place.root.join("packaging");
    for unit in UNITS {
        let text = String::from_utf8(read(&packaging.join("systemd").join(unit))?)?;
        let text = text.replace(PROGRAMS, &format!("/{LIBRARY}"));
        put(&tree.join("usr/lib/systemd/system").join(unit), text.as_bytes(), 0o644)?;
    }
    put(&tree.join("usr/lib/udev/rules.d").join(RULES), &read(&packaging.join(RULES))?, 0o644)?;
    for (name, file) in [("copyright", "LICENSE"), ("README.md", "README.md")] {
        put(&tree.join(DOCUMENTATION).join(name), &read(&place.root.join(file))?, 0o644)?;
    }
    put(&tree.join(OVERRIDES), &read(&packaging.join("debian/lintian-overrides"))?, 0o644)?;
    let version = env!("CARGO_PKG_VERSION");
    put(&tree.join(DOCUMENTATION).join("changelog"), changelog(version).as_bytes(), 0o644)?;
    let manual = tree.join(MANUAL);
    make(&manual)?;
    Tool::at(place, &programs.join("banger")).args(["internal", "man"]).args([&manual]).run()?;
    compress(place, &manual)?;
    compress_file(place, &tree.join(DOCUMENTATION).join("changelog"))?;
    for script in SCRIPTS {
        let content = read(&packaging.join("debian").join(script))?;
        put(&tree.join("DEBIAN").join(script), &content, 0o755)?;
    }
    put(&tree.join("DEBIAN/control"), control(version, size_in_kib(&tree)?).as_bytes(), 0o644)?;
    put(&tree.join("DEBIAN/md5sums"), sums(place, &tree)?.as_bytes(), 0o644)?;
    let package = folder.join(format!("banger_{version}_amd64.deb"));
    Tool::find(place, "dpkg-deb")?
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&tree, &package])
        .run()?;
    judge(place, &package)?;
    println!("package: {}", package.display());
    Ok(package)
}

/// deb-control(5).
fn control(version: &str, kib: u64) -> String {
    format!(
        "\
Package: banger
Version: {version}
Architecture: amd64
Maintainer: The banger developers <{MAIL}>
Installed-Size: {kib}
Depends: libc6 (>= 2.36), nftables, iproute2
Recommends: openssh-client, git, mmdebstrap, uidmap, e2fsprogs, systemd-resolved
Suggests: qemu-system-x86, passt
Section: admin
Priority: optional
Description: disposable virtual machines for development, one per task
 A machine boots in seconds from an image that banger makes, runs a command or a
 shell, and is gone afterwards, or stays as long as it is wanted.
"
    )
}

/// deb-changelog(5): what dpkg and its readers want to know of a version. What users notice is in CHANGELOG.md.
fn changelog(version: &str) -> String {
    format!(
        "\
banger ({version}) unstable; urgency=medium

  * Built from the sources of banger {version}.

 -- The banger developers <{MAIL}>  Thu, 01 Jan 2026 00:00:00 +0000
"
    )
}

/// A file's name behind its sum, for each file of the package: deb-md5sums(5).
fn sums(place: &Place, tree: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(&tree.join("usr"), &mut files)?;
    let names = files.iter().filter_map(|file| file.strip_prefix(tree).ok());
    Tool::find(place, "md5sum")?.current_dir(tree).args(["--"]).args(names).output()
}

fn list(folder: &Path, to: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        if path.is_dir() {
            list(&path, to)?;
        } else {
            to.push(path);
        }
    }
    to.sort();
    Ok(())
}

fn compress(place: &Place, folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.iter().try_for_each(|file| compress_file(place, file))
}

/// The same bytes each time: no name and no time in it.
fn compress_file(place: &Place, file: &Path) -> Result<()> {
    Tool::find(place, "gzip")?.args(["-9", "-n", "--"]).args([file]).run()
}

/// Has lintian look for errors in it.
fn judge(place: &Place, package: &Path) -> Result<()> {
    let judged = Tool::find(place, "lintian")?.args(["--fail-on", "error", "--allow-root"]).args([package]);
    judged.run().context("lintian found errors in the package")
}

fn size_in_kib(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        let found = entry.metadata().with_context(|| format!("looking at {}", entry.path().display()))?;
        bytes += if found.is_dir() { size_in_kib(&entry.path())? * 1024 } else { found.len() };
    }
    Ok(bytes.div_ceil(1024))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Without its symbols, as Debian has programs.
fn put_program(place: &Place, from: &Path, to: &Path) -> Result<()> {
    put(to, &read(from)?, 0o755)?;
    Tool::find(place, "strip")?.args(["--strip-unneeded", "--remove-section=.comment", "--"]).args([to]).run()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    make(path.parent().context("a path in a package has a folder")?)?;
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_says_what_dpkg_has_to_know() {
        let text = control("1.2.3", 7);
        for line in ["Package: banger", "Version: 1.2.3", "Installed-Size: 7", "Architecture: amd64"] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "dpkg ends a stanza at an empty line");
    }

    #[test]
    fn every_unit_and_script_that_is_packaged_is_there() {
        let place = Place::find().expect("tests run from a target folder");
        for (folder, names) in [("systemd", &UNITS[..]), ("debian", &SCRIPTS)] {
            for name in names {
                assert!(place.root.join("packaging").join(folder).join(name).is_file(), "{name}");
            }
        }
    }
}
