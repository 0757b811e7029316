//! Debian's packages to an archive, by `mmdebstrap`; pure, what is said to it and what it says back.

use std::ffi::OsString;

pub(super) const PROGRAM: &str = "mmdebstrap";

pub(super) const INSTALL_HINT: &str = "install it: `sudo apt install mmdebstrap uidmap` on Debian and Ubuntu, \
     `sudo dnf install mmdebstrap shadow-utils debian-keyring` on Fedora, \
     `sudo pacman -S mmdebstrap debian-archive-keyring` on Arch";

/// Runs inside the finished root file system's folder; `$1` is that folder.
const FINISH_IMAGE: &str = include_str!("finish-image.sh");

/// Keeps of the unpacked packages only the kernel's own files.
const FINISH_KERNEL: &str = include_str!("finish-kernel.sh");

/// Documents, manuals and translations: half of a small system's size. Licences stay.
const LEFT_OUT: [&str; 8] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
];

/// What the packages become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A system that boots.
    Image,
    /// A kernel's files, unpacked and nothing run.
    Kernel,
}

/// Whose powers the build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// An ordinary user in a user namespace with the sub-ids of `/etc/subuid`.
    Unshare,
    /// Root, who needs no sub-ids.
    Root,
}

impl Mode {
    pub(super) fn for_uid(uid: u32) -> Self {
        if uid == 0 { Self::Root } else { Self::Unshare }
    }
}

/// The command line that writes the archive to stdout.
pub(super) fn arguments(
    kind: Kind,
    mode: Mode,
    suite: &str,
    packages: &[String],
    mirror: Option<&str>,
) -> Vec<OsString> {
    let mut arguments = vec![
        "--format=tar".to_owned(),
        format!("--include={}", packages.join(",")),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
        "--aptopt=Acquire::Languages \"none\"".to_owned(),
        "--aptopt=Acquire::Retries \"3\"".to_owned(),
    ];
    arguments.push(match mode {
        Mode::Unshare => "--mode=unshare".to_owned(),
        Mode::Root => "--mode=root".to_owned(),
    });
    match kind {
        Kind::Image => {
            arguments.push("--variant=minbase".to_owned());
            arguments.extend(LEFT_OUT.iter().map(|option| format!("--dpkgopt={option}")));
            arguments.push(format!("--customize-hook={FINISH_IMAGE}"));
        }
        Kind::Kernel => {
            arguments.push("--variant=extract".to_owned());
            // The last hook that runs for a variant that installs nothing.
            arguments.push(format!("--extract-hook={FINISH_KERNEL}"));
        }
    }
    arguments.extend([suite.to_owned(), "-".to_owned()]);
    arguments.extend(mirror.map(str::to_owned));
    arguments.into_iter().map(OsString::from).collect()
}

/// What a line says the tool is doing now.
pub(super) fn stage(line: &str) -> Option<&str> {
    let stage = line.strip_prefix("I: ")?.trim_end_matches('.');
    if stage.starts_with("running --") {
        return Some("finishing");
    }
    // About its own inside and its end; not what a user waits for.
    let noise = [
        "using /",
        "success in",
        "done",
        "removing tempdir",
        "chroot architecture",
        "finding correct",
        "skipping",
    ];
    let is_noise = noise.iter().any(|noise| stage.starts_with(noise)) || stage.contains("() received signal");
    (!is_noise).then_some(stage)
}

/// What the user can do about what the tool said.
pub(super) fn failure_hint(said: &str) -> Option<&'static str> {
    if said.contains("newuidmap") || said.contains("/etc/subuid") || said.contains("/etc/subgid") {
        return Some(
            "add sub-ids for your user: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`, \
             and install `uidmap`",
        );
    }
    if said.contains("unprivileged_userns_clone")
        || said.contains("CLONE_NEWUSER")
        || said.contains("unshare")
    {
        return Some(
            "this host does not allow unprivileged user namespaces: `banger doctor` names the setting",
        );
    }
    if said.contains("NO_PUBKEY") || said.contains("not signed") {
        return Some("install Debian's keys: the package is `debian-archive-keyring`");
    }
    if said.contains("No space left on device") || said.contains("not have enough free space") {
        return Some("the disk of the temporary directory is full; set TMPDIR to use another directory");
    }
    if said.contains("Could not resolve")
        || said.contains("Failed to fetch")
        || said.contains("Could not connect")
    {
        return Some(
            "the Debian mirror cannot be reached; set `debian_mirror` in config.toml to use another one",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, mirror: Option<&str>) -> Vec<String> {
        let packages = ["a".to_owned(), "b".to_owned()];
        let arguments = arguments(kind, Mode::Unshare, "bookworm", &packages, mirror);
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn the_suite_and_the_target_come_last_and_a_mirror_behind_them() {
        assert!(line(Kind::Image, None).ends_with(&["bookworm".to_owned(), "-".to_owned()]));
        let with_mirror = line(Kind::Image, Some("http://mirror.test/debian"));
        assert_eq!(with_mirror[with_mirror.len() - 3..], ["bookworm", "-", "http://mirror.test/debian"]);
    }

    #[test]
    fn a_kernel_is_only_unpacked_and_an_image_is_installed() {
        assert!(line(Kind::Kernel, None).contains(&"--variant=extract".to_owned()));
        let image = line(Kind::Image, None);
        assert!(image.contains(&"--variant=minbase".to_owned()));
        assert!(image.contains(&"--include=a,b".to_owned()));
    }

    #[test]
    fn stages_are_what_a_user_waits_for() {
        assert_eq!(stage("I: running apt-get update..."), Some("running apt-get update"));
        assert_eq!(stage("I: using /tmp/mmdebstrap.x as tempdir"), None);
        assert_eq!(stage("W: something"), None);
        assert_eq!(stage("I: main() received signal PIPE: waiting for setup..."), None);
    }

    #[test]
    fn known_failures_have_a_way_out() {
        assert!(failure_hint("E: newuidmap is not installed").unwrap().contains("uidmap"));
        assert!(failure_hint("E: Failed to fetch http://x").unwrap().contains("debian_mirror"));
        assert!(
            failure_hint("tar: ./usr: Cannot write: No space left on device").unwrap().contains("TMPDIR")
        );
        assert_eq!(failure_hint("E: something else"), None);
    }
}
