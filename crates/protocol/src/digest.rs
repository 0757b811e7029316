//! SHA-256 digests as registries and image layouts write them: `sha256:` and 64 lower-case hexadecimal digits.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "sha256:";

/// What some bytes must hash to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("pattern" = "^sha256:[0-9a-f]{64}$")))]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A string that is no digest, or one of another kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{}` is not a digest: `{PREFIX}` and 64 lower-case hexadecimal digits", .0.escape_default())]
pub struct ParseDigestError(String);

impl Digest {
    #[must_use]
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.0
    }

    /// The 64 digits alone, which is also a file name.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The 64 digits alone, read.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if digits.len() != 64 || !digits.iter().all(lower) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let hex = text.strip_prefix(PREFIX);
        hex.and_then(Self::from_hex).ok_or_else(|| ParseDigestError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;
    fn try_from(text: String) -> Result<Self, ParseDigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_sha256_is_refused() {
        let hex = "a".repeat(64);
        let wrong = [
            "",
            "sha256:",
            &hex,
            &format!("sha512:{hex}{hex}"),
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "+a".repeat(32)),
            &format!("sha256:{hex}a"),
            &format!("sha256:../{}", "a".repeat(61)),
            &format!("sha256:{}", "ä".repeat(32)),
        ];
        for wrong in wrong {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong:?} was accepted");
        }
    }
}
