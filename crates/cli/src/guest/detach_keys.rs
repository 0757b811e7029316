//! The keys that leave a session without ending it.

use std::str::FromStr;

/// What is typed to detach, as the bytes a terminal sends for it; empty for no keys at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    bytes: Vec<u8>,
    shown: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a valid key sequence: write for example `ctrl-p,ctrl-q`, single characters, or `none`")]
pub(crate) struct ParseKeysError(String);

impl FromStr for DetachKeys {
    type Err = ParseKeysError;

    /// Keys with commas between them: a character, or `ctrl-` and one of `a-z@[\]^_`.
    fn from_str(text: &str) -> Result<Self, ParseKeysError> {
        if text == "none" {
            return Ok(Self { bytes: Vec::new(), shown: String::new() });
        }
        let parsed: Option<Vec<(u8, String)>> = text.split(',').map(parse_key).collect();
        let (bytes, shown): (Vec<u8>, Vec<String>) =
            parsed.ok_or_else(|| ParseKeysError(text.to_owned()))?.into_iter().unzip();
        Ok(Self { bytes, shown: shown.join(" ") })
    }
}

fn parse_key(key: &str) -> Option<(u8, String)> {
    if let Some(letter) = key.strip_prefix("ctrl-") {
        let [letter] = *letter.as_bytes() else { return None };
        let upper = letter.to_ascii_uppercase();
        // A terminal sends these with the three upper bits taken away.
        return (b'@'..=b'_').contains(&upper).then(|| (upper & 0x1f, format!("Ctrl-{}", char::from(upper))));
    }
    match *key.as_bytes() {
        [byte] if byte.is_ascii_graphic() => Some((byte, key.to_owned())),
        _ => None,
    }
}

impl DetachKeys {
    /// As a person reads them; `None` when there are none.
    pub(crate) fn shown(&self) -> Option<&str> {
        (!self.bytes.is_empty()).then_some(self.shown.as_str())
    }
}

/// Looks for the keys in what is typed, however it arrives in pieces.
///
/// What may be their beginning is held back until the next key tells.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    keys: Vec<u8>,
    /// How many of the keys were typed last.
    matched: usize,
}

/// What came of some input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// What goes on to the guest.
    pub(super) passed: Vec<u8>,
    /// Whether the keys were typed; whatever came after them is gone.
    pub(super) is_detached: bool,
}

impl Scanner {
    pub(super) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.bytes.clone(), matched: 0 }
    }

    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.matched
    }

    pub(super) fn scan(&mut self, input: &[u8]) -> Scanned {
        if self.keys.is_empty() {
            return Scanned { passed: input.to_vec(), is_detached: false };
        }
        let mut scanned = Scanned::default();
        for &byte in input {
            let mut typed = self.keys[..self.matched].to_vec();
            typed.push(byte);
            // The keys may begin within what was held back, as the second `a` does in `aab` when `aaab` is typed.
            let begins =
                (0..typed.len()).find(|&at| self.keys.starts_with(&typed[at..])).unwrap_or(typed.len());
            scanned.passed.extend_from_slice(&typed[..begins]);
            self.matched = typed.len() - begins;
            if self.matched == self.keys.len() {
                self.matched = 0;
                scanned.is_detached = true;
                return scanned;
            }
        }
        scanned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(text: &str) -> DetachKeys {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!(keys("ctrl-p,ctrl-q").bytes, [16, 17]);
        assert_eq!(keys("ctrl-p,ctrl-q").shown(), Some("Ctrl-P Ctrl-Q"));
        assert_eq!(keys("ctrl-],.").bytes, [29, b'.']);
        assert_eq!(keys("ctrl-@,a").bytes, [0, b'a']);
        assert_eq!(keys("none").shown(), None);
        for wrong in ["", "ctrl-", "ctrl-1", "ctrl-pq", "pq", "a,,b", "ü", "ctrl-p,", " "] {
            assert_eq!(wrong.parse::<DetachKeys>(), Err(ParseKeysError(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn a_beginning_is_held_back_until_the_next_key() {
        let mut scanner = Scanner::new(&keys("ctrl-p,ctrl-q"));
        assert_eq!(scanner.scan(b"a\x10"), Scanned { passed: b"a".to_vec(), is_detached: false });
        assert_eq!(scanner.scan(b"b"), Scanned { passed: b"\x10b".to_vec(), is_detached: false });
        assert_eq!(scanner.scan(b"\x10\x10"), Scanned { passed: b"\x10".to_vec(), is_detached: false });
        assert_eq!(scanner.scan(b"\x11rest"), Scanned { passed: Vec::new(), is_detached: true });
    }

    proptest! {
        /// Whatever the pieces, everything before the keys goes on and nothing after them does.
        #[test]
        fn the_keys_are_found_where_they_are_and_nowhere_else(
            keys in prop::collection::vec(0_u8..3, 0..4),
            pieces in prop::collection::vec(prop::collection::vec(0_u8..3, 0..5), 0..20),
        ) {
            let mut scanner = Scanner { keys: keys.clone(), matched: 0 };
            let typed = pieces.concat();
            let (mut passed, mut is_detached) = (Vec::new(), false);
            for piece in &pieces {
                let scanned = scanner.scan(piece);
                passed.extend(scanned.passed);
                if scanned.is_detached {
                    is_detached = true;
                    break;
                }
            }
            let found = (!keys.is_empty()).then(|| typed.windows(keys.len()).position(|at| at == keys)).flatten();
            prop_assert_eq!(is_detached, found.is_some());
            match found {
                Some(at) => prop_assert_eq!(&passed, &typed[..at]),
                None => {
                    prop_assert!(typed.starts_with(&passed));
                    prop_assert_eq!(&typed[passed.len()..], &keys[..scanner.held()]);
                }
            }
        }
    }
}
