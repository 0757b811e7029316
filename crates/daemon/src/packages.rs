//! Which package brings a program, by the family of the distribution.

/// Distributions whose packages have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Debian,
    Fedora,
    Arch,
}

/// A program and what to install for it.
struct Package {
    program: &'static str,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { program: "git", debian: "git", fedora: "git", arch: "git" },
    Package { program: "ssh", debian: "openssh-client", fedora: "openssh-clients", arch: "openssh" },
    Package {
        program: "mmdebstrap",
        debian: "mmdebstrap uidmap",
        fedora: "mmdebstrap shadow-utils debian-keyring",
        arch: "mmdebstrap debian-archive-keyring",
    },
    Package { program: "newuidmap", debian: "uidmap", fedora: "shadow-utils", arch: "shadow" },
    Package { program: "resize2fs", debian: "e2fsprogs", fedora: "e2fsprogs", arch: "e2fsprogs" },
    Package { program: "e2fsck", debian: "e2fsprogs", fedora: "e2fsprogs", arch: "e2fsprogs" },
    Package { program: "nft", debian: "nftables", fedora: "nftables", arch: "nftables" },
    Package { program: "pasta", debian: "passt", fedora: "passt", arch: "passt" },
    Package {
        program: "qemu-system-x86_64",
        debian: "qemu-system-x86",
        fedora: "qemu-system-x86-core",
        arch: "qemu-system-x86",
    },
];

impl Package {
    fn install(&self, family: Family) -> String {
        match family {
            Family::Debian => format!("`sudo apt install {}`", self.debian),
            Family::Fedora => format!("`sudo dnf install {}`", self.fedora),
            Family::Arch => format!("`sudo pacman -S {}`", self.arch),
        }
    }
}

/// The command that installs a program on this distribution; on one that is not known, that of each family.
///
/// # Panics
/// For a program that is not in the table.
pub(crate) fn install(program: &str) -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|at| std::fs::read_to_string(at).ok());
    command(program, family(&text.unwrap_or_default()))
}

fn command(program: &str, family: Option<Family>) -> String {
    let package = PACKAGES.iter().find(|package| package.program == program);
    let package = package.expect("every program that is looked for is in the table");
    match family {
        Some(family) => package.install(family),
        None => format!(
            "{} on Debian and Ubuntu, {} on Fedora, {} on Arch",
            package.install(Family::Debian),
            package.install(Family::Fedora),
            package.install(Family::Arch)
        ),
    }
}

/// By `ID`, or else by the first of `ID_LIKE` that says something (os-release(5)).
fn family(os_release: &str) -> Option<Family> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']))
    };
    let ids =
        [value("ID"), value("ID_LIKE")].into_iter().flatten().flat_map(|ids| ids.split_ascii_whitespace());
    ids.into_iter().find_map(|id| match id {
        "debian" | "ubuntu" => Some(Family::Debian),
        "fedora" | "rhel" | "centos" => Some(Family::Fedora),
        "arch" => Some(Family::Arch),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_itself_or_by_what_it_is_like() {
        for (text, expected) in [
            ("NAME=x\nID=debian\n", Some(Family::Debian)),
            ("ID=ubuntu\nID_LIKE=debian\n", Some(Family::Debian)),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Family::Debian)),
            ("ID=fedora\n", Some(Family::Fedora)),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Some(Family::Fedora)),
            ("ID=endeavouros\nID_LIKE='arch'\n", Some(Family::Arch)),
            ("ID=nixos\nVERSION_ID=debian\n", None),
            ("", None),
        ] {
            assert_eq!(family(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_program_has_a_command_for_every_family() {
        for package in PACKAGES {
            for (family, starts) in [
                (Family::Debian, "`sudo apt install "),
                (Family::Fedora, "`sudo dnf install "),
                (Family::Arch, "`sudo pacman -S "),
            ] {
                let told = command(package.program, Some(family));
                assert!(told.starts_with(starts) && told.len() > starts.len() + 1, "{told}");
                assert!(command(package.program, None).contains(&told));
            }
        }
        assert_eq!(command("ssh", Some(Family::Fedora)), "`sudo dnf install openssh-clients`");
    }
}
