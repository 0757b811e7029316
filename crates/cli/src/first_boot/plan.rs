//! What a distribution's own package manager has to be told. Pure.

use crate::guest::said;

/// Commands one after another, each a program and its arguments.
pub(super) type Plan = Vec<Vec<&'static str>>;

/// Nobody knows what to do with this one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its distribution, {0}, has no supported package manager: apt, apk, dnf, pacman, zypper")]
pub(super) struct UnknownDistribution(String);

/// From the text of `/etc/os-release` (os-release(5)). Its own name decides, before what it says to be like.
pub(super) fn plan(os_release: &str) -> Result<Plan, UnknownDistribution> {
    let value = |key: &str| {
        let mut lines = os_release.lines().filter_map(|line| line.trim().split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches(['"', '\'']))
    };
    let own = value("ID").filter(|id| !id.is_empty());
    let like = value("ID_LIKE").unwrap_or_default().split_ascii_whitespace();
    let family = own.into_iter().chain(like).find_map(of_family);
    let shown = || own.map_or_else(|| "unnamed".to_owned(), |id| format!("`{}`", said(id)));
    family.ok_or_else(|| UnknownDistribution(shown()))
}

/// By the words that distributions and their offspring use for themselves.
fn of_family(word: &str) -> Option<Plan> {
    Some(match word {
        "debian" | "ubuntu" => apt(),
        "alpine" => apk(),
        "fedora" | "rhel" | "centos" => dnf(),
        "arch" => pacman(),
        "suse" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" | "sles" => zypper(),
        _ => return None,
    })
}

/// The package switches its service on by itself, also where no systemd runs yet.
fn apt() -> Plan {
    vec![
        // A mirror that cannot be reached is no error to it otherwise.
        vec!["apt-get", "-o", "APT::Update::Error-Mode=any", "update"],
        vec![
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            "systemd",
            "systemd-sysv",
            "dbus",
            "openssh-server",
        ],
    ]
}

/// It has no systemd; this is what its own installations boot with.
fn apk() -> Plan {
    vec![vec!["apk", "add", "--no-cache", "openrc", "openssh"], vec!["rc-update", "add", "sshd", "default"]]
}

fn dnf() -> Plan {
    vec![
        vec![
            "dnf",
            "--assumeyes",
            "--setopt=install_weak_deps=False",
            "install",
            "systemd",
            "openssh-server",
        ],
        vec!["systemctl", "enable", "sshd.service"],
    ]
}

/// New packages beside old ones are not supported there, so everything is brought up to date.
fn pacman() -> Plan {
    vec![
        vec![
            "pacman",
            "--sync",
            "--refresh",
            "--sysupgrade",
            "--needed",
            "--noconfirm",
            "systemd",
            "systemd-sysvcompat",
            "openssh",
        ],
        vec!["systemctl", "enable", "sshd.service"],
    ]
}

fn zypper() -> Plan {
    vec![
        vec!["zypper", "--non-interactive", "refresh"],
        vec!["zypper", "--non-interactive", "install", "--no-recommends", "systemd", "openssh-server"],
        vec!["systemctl", "enable", "sshd.service"],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(os_release: &str) -> Vec<String> {
        plan(os_release).unwrap().iter().map(|command| command.join(" ")).collect()
    }

    #[test]
    fn each_distribution_is_told_in_the_words_of_its_own_package_manager() {
        let enable = "systemctl enable sshd.service";
        for (os_release, wanted) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
                &[
                    "apt-get -o APT::Update::Error-Mode=any update",
                    "apt-get install --yes --no-install-recommends systemd systemd-sysv dbus openssh-server",
                ][..],
            ),
            (
                "ID=alpine\nVERSION_ID=3.20.3",
                &["apk add --no-cache openrc openssh", "rc-update add sshd default"],
            ),
            (
                "ID=fedora",
                &["dnf --assumeyes --setopt=install_weak_deps=False install systemd openssh-server", enable],
            ),
            (
                "ID=arch",
                &[
                    "pacman --sync --refresh --sysupgrade --needed --noconfirm systemd systemd-sysvcompat openssh",
                    enable,
                ],
            ),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
                &[
                    "zypper --non-interactive refresh",
                    "zypper --non-interactive install --no-recommends systemd openssh-server",
                    enable,
                ],
            ),
        ] {
            assert_eq!(lines(os_release), wanted, "{os_release}");
        }
    }

    #[test]
    fn offspring_is_treated_as_what_it_says_to_be_like() {
        for (os_release, program) in [
            ("ID=ubuntu\nID_LIKE=debian", "apt-get"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"", "apt-get"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", "dnf"),
            ("ID='amzn'\nID_LIKE='fedora'", "dnf"),
            ("ID=manjaro\nID_LIKE=arch", "pacman"),
            ("ID=\"sles\"\nID_LIKE=\"suse\"", "zypper"),
            ("ID_LIKE=debian\nID=alpine", "apk"),
        ] {
            assert_eq!(plan(os_release).unwrap()[0][0], program, "{os_release}");
        }
    }

    #[test]
    fn a_distribution_that_nobody_knows_is_told_by_its_name() {
        let said = |os_release: &str| plan(os_release).unwrap_err().to_string();
        assert!(said("ID=void\n").starts_with("its distribution, `void`, has no supported"));
        assert!(said("").starts_with("its distribution, unnamed, has no supported"));
        assert!(said("ID=\x1b[2Jx").contains("\u{fffd}[2Jx"));
    }

    mod fuzz {
        use super::*;

        #[test]
        fn any_text_is_a_known_distribution_or_an_error_in_one_line() {
            let examples: [&[u8]; 2] =
                [b"NAME=x\nID=debian\nID_LIKE=\"a b\"\n", b"ID='opensuse-leap'\nID_LIKE=\"suse opensuse\"\n"];
            banger_fuzz::feed(&examples, |bytes| match plan(&String::from_utf8_lossy(bytes)) {
                Ok(plan) => assert!(plan.iter().all(|command| !command.is_empty())),
                Err(error) => assert!(!error.to_string().contains(char::is_control)),
            });
        }
    }
}
