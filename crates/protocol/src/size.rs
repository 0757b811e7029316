//! Sizes as users type and read them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MIB: u64 = 1 << 20;

/// A number of bytes. On the wire it is that number; typed by a user it is `512M`, `4G`, `4GiB`, or a bare
/// number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ByteSize(u64);

/// Text that is no size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a size: write a size such as 512M, 4G, or 4GiB; a number without a unit is in MiB")]
pub struct ParseSizeError(String);

impl ByteSize {
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib * MIB)
    }

    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Whole MiB, rounded down.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 / MIB
    }
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let refused = || ParseSizeError(text.to_owned());
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let count: u64 = digits.parse().map_err(|_| refused())?;
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "m" | "mb" | "mib" => MIB,
            "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return Err(refused()),
        };
        count.checked_mul(scale).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in [(1 << 40, "TiB"), (1 << 30, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= scale {
                let tenths = self.0.saturating_mul(10) / scale;
                return if tenths.is_multiple_of(10) {
                    write!(f, "{} {unit}", tenths / 10)
                } else {
                    write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_typed() {
        for (text, bytes) in [
            ("512M", 512 * MIB),
            ("4G", 4 << 30),
            ("4GiB", 4 << 30),
            ("300", 300 * MIB),
            ("1b", 1),
            ("2k", 2048),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for bad in ["", "G", "-1", "1.5G", "1X", "99999999999999T", "4 G"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn sizes_print_with_one_unit() {
        assert_eq!(ByteSize(4 << 30).to_string(), "4 GiB");
        assert_eq!(ByteSize((3 << 30) / 2).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(17).to_string(), "17 B");
    }
}
