//! Names that users choose, each with its own type and its rule in one place.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A name that breaks the rule of its kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{name}` is not a valid {kind} name: use {rule}")]
pub struct ParseNameError {
    name: String,
    kind: &'static str,
    rule: &'static str,
}

const VM_RULE: &str = "1 to 63 characters of a-z, 0-9, and `-`, without `-` at either end";
const STORED_RULE: &str = "1 to 63 characters of a-z, 0-9, `.`, `_`, and `-`, starting with a letter or digit and not ending in `.`";

/// One DNS label, because a VM is reachable as `<name>.vm`.
fn is_vm_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// One path component: no separator, no leading dot, so it can name a folder as it is.
fn is_stored_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=63).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && !name.ends_with('.')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:ident, $check:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("pattern" = $pattern)))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, ParseNameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;
            fn try_from(text: String) -> Result<Self, ParseNameError> {
                if $check(&text) { Ok(Self(text)) } else { Err(ParseNameError { name: text, kind: $kind, rule: $rule }) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A VM's name; one DNS label, unique on this host.
    VmName, "VM", VM_RULE, is_vm_name, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
}
name! {
    /// An image's name; also the name of its folder.
    ImageName, "image", STORED_RULE, is_stored_name, "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9_-])?$"
}
name! {
    /// A kernel entry's name; also the name of its folder.
    KernelName, "kernel", STORED_RULE, is_stored_name, "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9_-])?$"
}
name! {
    /// The name of a session in a guest; unique in its VM.
    SessionName, "session", VM_RULE, is_vm_name, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
}

/// A VM as a user refers to it: by name, id, or a unique prefix of an id.
///
/// Which of the three it is depends on what exists, so only the daemon can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct VmRef(pub String);

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm_names_are_dns_labels() {
        for good in ["a", "dev", "a-1", "0", &"x".repeat(63)] {
            assert!(good.parse::<VmName>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<VmName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn stored_names_are_single_plain_path_components() {
        for good in ["debian-bookworm", "alpine-3.20", "a_b"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\0b", "-x", "x.", "UP"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?} was accepted");
        }
    }
}
