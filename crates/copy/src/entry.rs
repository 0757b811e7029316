//! One file, folder or link, as it is told to the other side. Pure.
//!
//! ```text
//! kind u8 │ mode u32 │ seconds i64 │ nanoseconds u32 │ size u64 │ length of path u16 │ path │ target of a link
//! ```
//!
//! All of it little endian. A path is bytes, as Linux has it: names that are no UTF-8 travel too.

/// Longest path and longest target, in bytes (`PATH_MAX` less its NUL).
const LONGEST_PATH: usize = 4095;
/// Longest name, in bytes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;
/// Deepest path. Each level is one more folder to be opened.
const DEEPEST: usize = 256;
/// Files cannot be longer (`loff_t`).
const LARGEST: u64 = i64::MAX as u64;

const HEADER: usize = 27;

/// A time of last modification since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, names separated by `/`; empty for the root itself.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    pub modified: Modified,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Folder,
    /// So many bytes follow.
    File {
        size: u64,
    },
    Link {
        target: Vec<u8>,
    },
}

/// An entry that no honest sender makes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEntry {
    #[error("an entry is cut short")]
    Short,
    #[error("an entry is of no kind there is")]
    Kind,
    #[error("the path \"{0}\" is not a list of plain names")]
    Path(String),
    #[error("\"{0}\" has a size, a time or a target that cannot be")]
    Value(String),
}

impl Entry {
    /// The path, fit to be printed; the root is `.`.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.path.is_empty() { ".".to_owned() } else { shown(&self.path) }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, size, target) = match &self.what {
            What::Folder => (0, 0, &[][..]),
            What::File { size } => (1, *size, &[][..]),
            What::Link { target } => (2, 0, target.as_slice()),
        };
        let length = u16::try_from(self.path.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![kind];
        bytes.extend(self.mode.to_le_bytes());
        bytes.extend(self.modified.seconds.to_le_bytes());
        bytes.extend(self.modified.nanoseconds.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(&self.path);
        bytes.extend(target);
        bytes
    }

    /// Reads an entry, and refuses one that could not be laid below a root.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedEntry> {
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(MalformedEntry::Short)?;
        let length = usize::from(u16::from_le_bytes(field(header, 25)));
        let (path, target) = rest.split_at_checked(length).ok_or(MalformedEntry::Short)?;
        if !is_path(path) {
            return Err(MalformedEntry::Path(shown(path)));
        }
        let impossible = || MalformedEntry::Value(shown(path));
        let size = u64::from_le_bytes(field(header, 17));
        let modified = Modified {
            seconds: i64::from_le_bytes(field(header, 5)),
            nanoseconds: u32::from_le_bytes(field(header, 13)),
        };
        let what = match header[0] {
            0 if size == 0 && target.is_empty() => What::Folder,
            1 if size <= LARGEST && target.is_empty() => What::File { size },
            2 if size == 0 && is_target(target) => What::Link { target: target.to_vec() },
            0..=2 => return Err(impossible()),
            _ => return Err(MalformedEntry::Kind),
        };
        if modified.nanoseconds >= 1_000_000_000 {
            return Err(impossible());
        }
        Ok(Self { path: path.to_vec(), mode: u32::from_le_bytes(field(header, 1)), modified, what })
    }
}

/// The bytes of a field; the header is as long as it says.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header[at..].first_chunk().copied().expect("every field lies inside the header")
}

/// Whether it is the root, or a list of names none of which leads anywhere but one level down.
pub(super) fn is_path(path: &[u8]) -> bool {
    let plain = |name: &[u8]| {
        (1..=LONGEST_NAME).contains(&name.len()) && name != b"." && name != b".." && !name.contains(&0)
    };
    let names = || path.split(|byte| *byte == b'/');
    path.is_empty() || (path.len() <= LONGEST_PATH && names().count() <= DEEPEST && names().all(plain))
}

/// A link's target is data: it may point anywhere, for nobody here follows it.
fn is_target(target: &[u8]) -> bool {
    (1..=LONGEST_PATH).contains(&target.len()) && !target.contains(&0)
}

fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], what: What) -> Entry {
        Entry { path: path.to_vec(), mode: 0o644, modified: Modified { seconds: -5, nanoseconds: 7 }, what }
    }

    #[test]
    fn entries_arrive_as_sent() {
        for entry in [
            entry(b"", What::Folder),
            entry(b"a/b c/\xff\xfe", What::File { size: LARGEST }),
            entry(b"l", What::Link { target: b"../../etc/passwd".to_vec() }),
        ] {
            assert_eq!(Entry::parse(&entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        let long = [b'x'; LONGEST_NAME + 1];
        let deep = [&b"a/"[..]; DEEPEST].concat();
        for path in [
            &b".."[..],
            b".",
            b"/",
            b"/a",
            b"a/",
            b"a//b",
            b"a/../b",
            b"../a",
            b"a/..",
            b"a/.",
            b"a\0b",
            &long,
            &[&deep[..], b"a"].concat(),
        ] {
            let parsed = Entry::parse(&entry(path, What::Folder).encode());
            assert!(matches!(parsed, Err(MalformedEntry::Path(_))), "{path:?} was accepted");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let refused = |entry: &Entry| Entry::parse(&entry.encode()).is_err();
        assert!(refused(&entry(b"a", What::File { size: LARGEST + 1 })));
        for target in [&b""[..], b"a\0", &[b'x'; LONGEST_PATH + 1]] {
            assert!(refused(&entry(b"a", What::Link { target: target.to_vec() })), "{target:?}");
        }
        let modified = Modified { seconds: 0, nanoseconds: 1_000_000_000 };
        assert!(refused(&Entry { modified, ..entry(b"a", What::Folder) }));
        let whole = entry(b"abc", What::Folder).encode();
        for length in 0..whole.len() {
            assert_eq!(Entry::parse(&whole[..length]), Err(MalformedEntry::Short));
        }
        assert_eq!(Entry::parse(&[&[3], &whole[1..]].concat()), Err(MalformedEntry::Kind));
    }

    #[test]
    fn a_path_is_shown_without_what_a_terminal_obeys() {
        assert_eq!(entry(b"a\x1b[2J\n", What::Folder).shown(), "a\\u{1b}[2J\\n");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Entry::parse(&bytes);
        }

        #[test]
        fn what_the_parser_takes_is_the_same_again(
            path in "[ab./]{0,6}", target in "[ab./]{1,6}", kind in 0..3, at in 0..HEADER, byte: u8,
        ) {
            let what = match kind {
                0 => What::Folder,
                1 => What::File { size: 1 },
                _ => What::Link { target: target.into_bytes() },
            };
            let mut bytes = entry(path.as_bytes(), what).encode();
            bytes[at] = byte;
            if let Ok(entry) = Entry::parse(&bytes) {
                proptest::prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
