//! Versions of Firecracker, and which of them banger can use; pure.

use std::fmt;

/// The first that describes its devices in ACPI tables. Debian's cloud kernels find none without: they take no
/// devices from the kernel command line.
pub const LEAST: Version = Version { major: 1, minor: 8, patch: 0 };
/// The newest that banger was tried with; its patches are taken for it.
pub const NEWEST_TRIED: Version = Version { major: 1, minor: 16, patch: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Firecracker version")]
pub struct NotAVersion(String);

impl Version {
    /// Reads what `firecracker --version` prints, `Firecracker v1.16.1` and then lines of its log, or what its API
    /// says, `1.16.1`. What a build of somebody's own has behind the numbers (`-dev`, `+fuzzing`) is left out.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, NotAVersion> {
        let line = text.lines().next().unwrap_or_default().trim();
        let numbers = line.strip_prefix("Firecracker ").unwrap_or(line);
        let numbers = numbers.strip_prefix('v').unwrap_or(numbers);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let mut parts = numbers.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(NotAVersion(line.chars().filter(|c| !c.is_control()).take(80).collect())),
        }
    }
}

/// `u32::from_str` takes a sign.
fn number(text: &str) -> Option<u32> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What to think of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    TooOld,
    Tried,
    NewerThanTried,
}

#[must_use]
pub fn judge(version: Version) -> Verdict {
    if version < LEAST {
        Verdict::TooOld
    } else if (version.major, version.minor) <= (NEWEST_TRIED.major, NEWEST_TRIED.minor) {
        Verdict::Tried
    } else {
        Verdict::NewerThanTried
    }
}

impl Verdict {
    /// In words for somebody who has this version and does not know what it means; nothing when all is well.
    #[must_use]
    pub fn advice(self) -> Option<String> {
        match self {
            Self::TooOld => Some(format!(
                "install Firecracker {LEAST} or newer: older ones do not describe their devices in ACPI tables, and kernels of Debian then find no disk"
            )),
            Self::Tried => None,
            Self::NewerThanTried => Some(format!(
                "banger was tried with Firecracker up to {}.{}; should this one misbehave, `vmm = \"qemu\"` in the configuration goes around it",
                NEWEST_TRIED.major, NEWEST_TRIED.minor
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn a_version_is_read_from_what_firecracker_prints_and_from_what_its_api_says() {
        let expected = Version { major: 1, minor: 16, patch: 1 };
        for text in [
            "Firecracker v1.16.1\n\n2026-11-20T15:30:44 [anonymous-instance:main] exiting 0\n",
            "Firecracker v1.16.1",
            "1.16.1",
            "v1.16.1",
            "1.16.1-dev+x\n",
        ] {
            assert_eq!(version(text), expected, "{text:?}");
        }
        assert_eq!(expected.to_string(), "1.16.1");
    }

    #[test]
    fn other_text_is_no_version() {
        for text in
            ["", "QEMU emulator version 7.2.22", "1.16", "1.16.1.2", "1.+6.1", "v", "1..1", "1.99999999999.1"]
        {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
        let hostile = Version::parse("\u{1b}[2J").unwrap_err();
        assert_eq!(hostile.to_string(), "`[2J` is not a Firecracker version");
    }

    #[test]
    fn a_version_is_too_old_tried_or_newer() {
        for (text, verdict) in [
            ("0.25.0", Verdict::TooOld),
            ("1.7.9", Verdict::TooOld),
            ("1.8.0", Verdict::Tried),
            ("1.16.1", Verdict::Tried),
            ("1.16.9", Verdict::Tried),
            ("1.17.0", Verdict::NewerThanTried),
            ("2.0.0", Verdict::NewerThanTried),
        ] {
            assert_eq!(judge(version(text)), verdict, "{text}");
        }
    }

    #[test]
    fn whoever_has_a_version_that_was_not_tried_is_told_what_to_do() {
        assert!(Verdict::TooOld.advice().unwrap().contains("1.8.0 or newer"));
        assert!(Verdict::NewerThanTried.advice().unwrap().contains("1.16"));
        assert_eq!(Verdict::Tried.advice(), None);
    }
}
