//! The users that VMs run as: numbers that belong to nobody else on the host.
//!
//! A VM's number comes from its id, so that nothing has to be remembered of it. Its processes have no other right than
//! what is given to that number; were it also a person's or a container's, either could reach the other's files.

use std::fmt;
use std::str::FromStr;

/// Behind the ids that distributions and systemd give out by themselves (`nobody`, `DynamicUser=`).
const LOWEST: u32 = 1 << 16;
/// Ids above are negative to programs that take them for signed numbers.
const HIGHEST: u32 = i32::MAX as u32 - 1;
/// With fewer, two VMs would often share one.
const FEWEST: u32 = 1 << 16;

/// The first of these numbers and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmUids {
    first: u32,
    last: u32,
}

/// Not a range that VMs could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a range of at least {fewest} uids between {lowest} and {highest}, such as {usual}",
    text = .0, fewest = FEWEST, lowest = LOWEST, highest = HIGHEST, usual = VmUids::USUAL
)]
pub struct NotVmUids(String);

/// Whose some of them are already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the uids {uids} for VMs are not free: {holder} has {first} to {last} in {file}")]
pub struct Taken {
    uids: VmUids,
    holder: String,
    first: u32,
    last: u32,
    file: &'static str,
}

/// Those files of a host that say which ids are whose.
#[derive(Clone, Copy, Debug, Default)]
struct IdFiles<'a> {
    passwd: &'a str,
    group: &'a str,
    subuid: &'a str,
    subgid: &'a str,
}

impl VmUids {
    /// Those of whoever chose none: 2²⁴, as many as six digits of an id tell apart. Right behind those that systemd gives
    /// to containers by itself, of which no file tells (`systemd-nspawn -U`; systemd.io/UIDS-GIDS).
    pub const USUAL: Self = Self { first: 0x7000_0000, last: 0x70ff_ffff };

    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    #[must_use]
    pub const fn last(self) -> u32 {
        self.last
    }

    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// The number that goes with the low 24 bits of a VM's id.
    #[must_use]
    pub const fn of(self, low: u32) -> u32 {
        self.first + low % (self.last - self.first + 1)
    }

    /// That nobody on this host has any of them: no user, no group, and no container of a user's.
    ///
    /// # Errors
    /// With the first who has.
    pub fn are_nobodys(self) -> Result<(), Taken> {
        // What is not there gives nobody an id.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let [passwd, group, subuid, subgid] =
            ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"].map(read);
        self.check(IdFiles { passwd: &passwd, group: &group, subuid: &subuid, subgid: &subgid })
    }

    fn check(self, host: IdFiles<'_>) -> Result<(), Taken> {
        let IdFiles { passwd, group, subuid, subgid } = host;
        let single = |text: &str| entries(text, 2, None);
        let ranges = |text: &str| entries(text, 1, Some(2));
        let all = [
            ("/etc/passwd", single(passwd)),
            ("/etc/group", single(group)),
            ("/etc/subuid", ranges(subuid)),
            ("/etc/subgid", ranges(subgid)),
        ];
        for (file, held) in all {
            let overlapping =
                held.into_iter().find(|(_, first, last)| *first <= self.last && self.first <= *last);
            if let Some((holder, first, last)) = overlapping {
                return Err(Taken { uids: self, holder, first, last, file });
            }
        }
        Ok(())
    }
}

/// Who has which ids, from lines of fields between colons: passwd(5), group(5), subuid(5).
fn entries(text: &str, id: usize, count: Option<usize>) -> Vec<(String, u32, u32)> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let first: u32 = fields.get(id)?.parse().ok()?;
        let count: u32 = count.map_or(Some(1), |count| fields.get(count)?.parse().ok())?;
        let last = first.saturating_add(count.checked_sub(1)?);
        Some(((*fields.first()?).to_owned(), first, last))
    };
    text.lines().filter_map(entry).collect()
}

impl fmt::Display for VmUids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for VmUids {
    type Err = NotVmUids;

    fn from_str(text: &str) -> Result<Self, NotVmUids> {
        let number = |text: &str| -> Option<u32> {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok())?
        };
        let parsed = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
        let fits = |(first, last): &(u32, u32)| {
            LOWEST <= *first && *last <= HIGHEST && first <= last && last - first >= FEWEST - 1
        };
        let (first, last) = parsed.filter(fits).ok_or_else(|| NotVmUids(text.to_owned()))?;
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(text: &str) -> VmUids {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_range_that_is_large_enough_and_behind_the_systems_own_ids_is_one() {
        for good in ["65536-131071", "1879048192-1895825407", "2147418111-2147483646"] {
            assert_eq!(uids(good).to_string(), good);
        }
        for wrong in [
            "",
            "-",
            "1",
            "65536",
            "65535-200000",
            "65536-131070",
            "131071-65536",
            "65536-2147483647",
            "65536-99999999999",
            "+65536-131071",
            "65536 - 131071",
            "a-b",
        ] {
            assert!(wrong.parse::<VmUids>().is_err(), "{wrong}");
        }
        assert_eq!(uids(&VmUids::USUAL.to_string()), VmUids::USUAL);
    }

    /// The summary of systemd's UIDS-GIDS: containers have 524288 to 1879048191, files of foreign systems the 65,536
    /// from 0x7ffe0000 on, and what has the highest bit is for nobody.
    #[test]
    fn the_usual_range_is_none_that_systemd_gives_out() {
        for systemds in [(524_288, 1_879_048_191), (0x7ffe_0000, 0x7ffe_ffff), (0x8000_0000, u32::MAX)] {
            let apart = VmUids::USUAL.last < systemds.0 || systemds.1 < VmUids::USUAL.first;
            assert!(apart, "{} and {systemds:?}", VmUids::USUAL);
        }
    }

    #[test]
    fn every_vm_has_a_number_of_the_range() {
        for range in [VmUids::USUAL, uids("65536-131071"), uids("100000-200001")] {
            for low in [0, 1, 0xffff, 0x10000, 0xff_ffff] {
                assert!(range.contains(range.of(low)), "{range} {low}");
            }
        }
        assert_eq!(VmUids::USUAL.of(0x2a), 0x7000_002a);
    }

    #[test]
    fn whoever_has_one_of_them_is_named() {
        let nobody = IdFiles {
            passwd: "root:x:0:0::/root:/bin/sh\ndev:x:1000:1000::/home/dev:/bin/sh\n",
            group: "root:x:0:\n",
            subuid: "dev:100000:65536\n",
            subgid: "dev:100000:65536\n",
        };
        assert_eq!(uids("200000-300000").check(nobody), Ok(()));
        assert_eq!(VmUids::USUAL.check(nobody), Ok(()));
        for (host, file, holder) in [
            (IdFiles { passwd: "ada:x:250000:1::/:/bin/sh\n", ..nobody }, "/etc/passwd", "ada"),
            (IdFiles { group: "staff:x:200000:\n", ..nobody }, "/etc/group", "staff"),
            (IdFiles { subuid: "eve:300000:1\n", ..nobody }, "/etc/subuid", "eve"),
            (IdFiles { subgid: "eve:199999:2\n", ..nobody }, "/etc/subgid", "eve"),
            (IdFiles { subuid: "all:0:4294967295\n", ..nobody }, "/etc/subuid", "all"),
        ] {
            let taken = uids("200000-300000").check(host).unwrap_err();
            assert_eq!((taken.file, taken.holder.as_str()), (file, holder), "{taken}");
        }
        assert_eq!(uids("165536-300000").check(nobody), Ok(()), "right behind another's");
        assert!(uids("165535-300000").check(nobody).is_err());
        let odd = IdFiles { subuid: "x\nx:y:z\nx:200000:0\n:::\n", ..IdFiles::default() };
        assert_eq!(uids("200000-300000").check(odd), Ok(()));
    }
}
