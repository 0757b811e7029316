//! Which machines an image is for: `linux/amd64`, `linux/arm64/v8`.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// An operating system and a processor, in the words of the image specification (Go's).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a platform: linux/amd64, linux/arm64/v8 and the like")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Of guests on this machine: they have its processor.
    #[must_use]
    pub fn of_guests() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// How well an image for `self` serves whoever wants `wanted`; none if not at all, and more is better.
    ///
    /// A wanted variant has to be that one. Otherwise the plainest one wins, because any processor runs it.
    pub(crate) fn suits(&self, wanted: &Self) -> Option<u8> {
        let same = self.os == wanted.os && self.architecture == wanted.architecture;
        match (self.usual_variant(), wanted.usual_variant()) {
            _ if !same => None,
            (ours, Some(theirs)) => (ours == Some(theirs)).then_some(3),
            (None, None) => Some(3),
            (Some("v8"), None) if self.architecture == "arm64" => Some(2),
            (Some(_), None) => Some(1),
        }
    }

    /// `v1` is what amd64 is without a variant.
    fn usual_variant(&self) -> Option<&str> {
        let variant = self.variant.as_deref().filter(|variant| !variant.is_empty());
        variant.filter(|&variant| (self.architecture.as_str(), variant) != ("amd64", "v1"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let bad = || ParsePlatformError(text.to_owned());
        let legal = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(bad()),
        };
        if !parts.iter().all(|part| legal(part)) {
            return Err(bad());
        }
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().filter(|variant| !variant.is_empty()).try_for_each(|v| write!(f, "/{v}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_platform_is_written_as_it_is_read() {
        for text in ["linux/amd64", "linux/arm64/v8", "windows/amd64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        assert_eq!(platform("linux/x86_64"), platform("linux/amd64"));
        for wrong in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d", "linux/amd64/"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn only_the_wanted_variant_suits_and_the_plain_one_where_none_is_wanted() {
        let suits = |have: &str, want: &str| platform(have).suits(&platform(want));
        assert_eq!(suits("linux/arm64", "linux/amd64"), None);
        assert_eq!(suits("windows/amd64", "linux/amd64"), None);
        assert_eq!(suits("linux/amd64/v1", "linux/amd64"), suits("linux/amd64", "linux/amd64"));
        assert!(suits("linux/amd64", "linux/amd64") > suits("linux/amd64/v3", "linux/amd64"));
        assert!(suits("linux/arm64/v8", "linux/arm64") > suits("linux/arm64/v9", "linux/arm64"));
        assert_eq!(suits("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(suits("linux/amd64/v3", "linux/amd64/v3"), Some(3));
    }
}
