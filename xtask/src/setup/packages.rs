//! What comes from the distribution.
//!
//! A need is met when the thing itself is there, however it came: somebody's own build of QEMU is as good as the
//! package's. On Debian and its descendants the missing packages are installed, as root or with `sudo`. Elsewhere,
//! and where neither will do, they are listed and installing them is left to the reader.

use crate::place::Place;
use crate::tool::{Tool, search};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// How to tell that a need is met.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Program(&'static str),
    /// One that needs no library.
    StaticProgram(&'static str),
    File(&'static str),
}

/// One thing banger, its build or its tests cannot do without.
#[derive(Debug)]
struct Need {
    proof: Proof,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

const fn need(proof: Proof, debian: &'static str, fedora: &'static str, arch: &'static str) -> Need {
    Need { proof, debian, fedora, arch }
}

const NEEDS: &[Need] = &[
    // Building: SQLite and zstd are C.
    need(Proof::Program("cc"), "gcc", "gcc", "gcc"),
    need(Proof::File("/usr/include/stdio.h"), "libc6-dev", "glibc-devel", "glibc"),
    need(Proof::Program("git"), "git", "git-core", "git"),
    // Running guests.
    need(Proof::Program("qemu-system-x86_64"), "qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"),
    need(Proof::File("/usr/share/seabios/bios-256k.bin"), "seabios", "seabios-bin", "seabios"),
    need(Proof::Program("nft"), "nftables", "nftables", "nftables"),
    need(Proof::Program("pasta"), "passt", "passt", "passt"),
    need(Proof::Program("ssh"), "openssh-client", "openssh-clients", "openssh"),
    // Making images and kernels of Debian packages, as an ordinary user.
    need(Proof::Program("mmdebstrap"), "mmdebstrap", "mmdebstrap", "mmdebstrap"),
    need(
        Proof::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        "debian-archive-keyring",
        "debian-keyring",
        "debian-archive-keyring",
    ),
    need(Proof::Program("newuidmap"), "uidmap", "shadow-utils", "shadow"),
    need(Proof::Program("zstd"), "zstd", "zstd", "zstd"),
    need(Proof::Program("e2fsck"), "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    // Making a package, and judging it.
    need(Proof::Program("dpkg-deb"), "dpkg", "dpkg", "dpkg"),
    need(Proof::Program("lintian"), "lintian", "lintian", "lintian"),
    // Only the tests: what they copy with, what plays the odd process, what makes system calls fail, and what they compare the host by.
    need(Proof::Program("rsync"), "rsync", "rsync", "rsync"),
    need(Proof::Program("strace"), "strace", "strace", "strace"),
    need(Proof::Program("perl"), "perl", "perl", "perl"),
    need(Proof::Program("python3"), "python3", "python3", "python"),
    need(Proof::Program("ip"), "iproute2", "iproute", "iproute2"),
    // A registry, and what fills it.
    need(Proof::Program("docker-registry"), "docker-registry", "docker-distribution", "docker-registry"),
    need(Proof::Program("skopeo"), "skopeo", "skopeo", "skopeo"),
    // Makes and unpacks images in layers, which is what ours are compared with.
    need(Proof::Program("umoci"), "umoci", "umoci", "umoci"),
    // Certificates and tokens for it.
    need(Proof::Program("openssl"), "openssl", "openssl", "openssl"),
    // What an image with a single program is made of.
    need(Proof::StaticProgram("busybox"), "busybox-static", "busybox", "busybox"),
];

/// Installs the packages whose needs are not met.
pub(super) fn install_missing(place: &Place) -> Result<()> {
    let missing = unmet(NEEDS, |proof| match proof {
        Proof::Program(name) => search(place, name).is_some(),
        Proof::StaticProgram(name) => search(place, name).is_some_and(|program| is_static(&program)),
        Proof::File(path) => Path::new(path).exists(),
    });
    if missing.is_empty() {
        return Ok(());
    }
    if search(place, "apt-get").is_none() {
        bail!("{}", by_hand(&missing));
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.debian).collect();
    if !is_root() && search(place, "sudo").is_none() {
        bail!("{}", as_root(&packages));
    }
    println!("setup: installing the Debian packages {}", packages.join(", "));
    install(place, &packages).with_context(|| as_root(&packages))?;
    println!("setup: installed {} packages", packages.len());
    Ok(())
}

fn is_static(program: &Path) -> bool {
    use std::io::Read as _;
    let mut page = Vec::new();
    let read = std::fs::File::open(program).and_then(|file| file.take(4096).read_to_end(&mut page));
    read.is_ok() && !names_a_loader(&page)
}

/// Whether a program's first page, where the names behind the program headers are, has that of a loader.
fn names_a_loader(page: &[u8]) -> bool {
    page.windows(9).any(|bytes| bytes == b"/ld-linux")
}

fn unmet(needs: &'static [Need], is_met: impl Fn(Proof) -> bool) -> Vec<&'static Need> {
    needs.iter().filter(|need| !is_met(need.proof)).collect()
}

/// The package lists are fetched only when there are none, or when they turned out to be too old to install from.
fn install(place: &Place, packages: &[&str]) -> Result<()> {
    let fresh_machine = !has_package_lists(Path::new("/var/lib/apt/lists"));
    if fresh_machine {
        apt_get(place, &["update"])?;
    }
    let arguments: Vec<&str> =
        ["install", "-y", "--no-install-recommends", "--"].iter().chain(packages).copied().collect();
    match apt_get(place, &arguments) {
        Err(_) if !fresh_machine => {
            println!("setup: trying again with fresh package lists");
            apt_get(place, &["update"])?;
            apt_get(place, &arguments)
        }
        outcome => outcome,
    }
}

fn has_package_lists(folder: &Path) -> bool {
    folder.read_dir().is_ok_and(|mut entries| {
        entries
            .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
    })
}

fn apt_get(place: &Place, arguments: &[&str]) -> Result<()> {
    let quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"];
    if is_root() {
        Tool::find(place, "env")?.args(quiet).args(arguments).run()
    } else {
        Tool::find(place, "sudo")?.args(["env"]).args(quiet).args(arguments).run()
    }
}

/// Whether this process has the superuser's uid: the owner of its own `/proc` entry.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}

/// What to tell somebody whose package manager this program does not drive.
fn by_hand(missing: &[&Need]) -> String {
    let list =
        |name: fn(&Need) -> &'static str| missing.iter().map(|n| name(n)).collect::<Vec<_>>().join(" ");
    format!(
        "some packages are missing, and this is no Debian to install them on; please install\n  \
         Debian: {}\n  Fedora: {}\n  Arch:   {}",
        list(|n| n.debian),
        list(|n| n.fedora),
        list(|n| n.arch)
    )
}

/// What to tell somebody who is not allowed to install packages, or could not.
fn as_root(packages: &[&str]) -> String {
    format!(
        "some packages are missing and were not installed; as root, run \
         `apt-get update && apt-get install --no-install-recommends {}`",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let missing = unmet(NEEDS, |proof| !matches!(proof, Proof::Program("rsync" | "pasta")));
        let names: Vec<_> = missing.iter().map(|need| need.debian).collect();
        assert_eq!(names, ["passt", "rsync"]);
        assert!(unmet(NEEDS, |_| true).is_empty(), "something is installed though everything is there");
    }

    #[test]
    fn elsewhere_than_on_debian_the_packages_are_listed_by_their_names_there() {
        let text = by_hand(&unmet(NEEDS, |proof| !matches!(proof, Proof::Program("ssh" | "newuidmap"))));
        assert!(text.contains("Debian: openssh-client uidmap\n"), "{text}");
        assert!(text.contains("Fedora: openssh-clients shadow-utils\n"), "{text}");
        assert!(text.ends_with("Arch:   openssh shadow"), "{text}");
    }

    #[test]
    fn who_may_not_install_packages_is_given_the_command_for_somebody_who_may() {
        let text = as_root(&["gcc", "uidmap"]);
        assert!(text.ends_with("apt-get install --no-install-recommends gcc uidmap`"), "{text}");
    }

    #[test]
    fn a_program_that_needs_a_loader_is_not_static() {
        assert!(names_a_loader(b"\x7fELF /lib64/ld-linux-x86-64.so.2\0"));
        assert!(!names_a_loader(b"\x7fELF and no word of one"));
    }

    #[test]
    fn a_machine_whose_package_lists_were_never_fetched_is_recognised() {
        assert!(!has_package_lists(Path::new("/nonexistent")));
    }
}
