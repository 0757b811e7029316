//! Spans of time as they are written in settings: `90s`, `15m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Smallest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 60 * 60_000), ("d", 24 * 60 * 60_000)];

/// A span of time that is not nothing, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(u64);

/// Text that is no span of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a duration: write a duration such as 90s, 15m, 2h, or 1d")]
pub struct ParseIntervalError(String);

impl Interval {
    /// # Panics
    /// At compile time, when it is nothing.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        assert!(seconds > 0, "a span of time is not nothing");
        Self(seconds * 1_000)
    }

    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Interval {
    type Err = ParseIntervalError;

    fn from_str(text: &str) -> Result<Self, ParseIntervalError> {
        let refused = || ParseIntervalError(text.to_owned());
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (digits, unit) = text.split_at(digits_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
        let count: u64 = digits.parse().map_err(|_| refused())?;
        count.checked_mul(*scale).filter(|&milliseconds| milliseconds > 0).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().rev().find(|(_, scale)| self.0.is_multiple_of(*scale));
        let (unit, scale) = whole.unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for (text, milliseconds) in [("50ms", 50), ("90s", 90_000), ("15m", 900_000), ("1d", 86_400_000)] {
            assert_eq!(text.parse(), Ok(Interval(milliseconds)), "{text}");
        }
        for bad in [
            "",
            "5",
            "m",
            "0s",
            "-1s",
            "1.5h",
            "2 h",
            "1w",
            "off",
            "99999999999999999999d",
            "9999999999999999d",
        ] {
            assert!(bad.parse::<Interval>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_span_is_shown_in_its_largest_whole_unit() {
        for text in ["90s", "1m", "25h", "1d", "1ms"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        assert_eq!("120m".parse::<Interval>().unwrap().to_string(), "2h");
    }

    proptest! {
        #[test]
        fn what_is_shown_means_the_same_again(milliseconds in 1_u64..=1 << 50) {
            let interval = Interval(milliseconds);
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }
    }
}
