//! The name of a git object.

use std::fmt;

/// 40 or 64 hexadecimal digits, lower case: never an option or a name that git would look up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Oid(String);

impl Oid {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = matches!(text.len(), 40 | 64) && text.bytes().all(is_digit);
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As git abbreviates it at least.
    pub(crate) fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_taken() {
        assert!(Oid::parse(&"0a".repeat(20)).is_some() && Oid::parse(&"0a".repeat(32)).is_some());
        for text in
            ["", "HEAD", "-x", &"0A".repeat(20), &"0a".repeat(19), &"0g".repeat(20), &" 0a".repeat(20)]
        {
            assert!(Oid::parse(text).is_none(), "{text:?} was taken");
        }
    }
}
