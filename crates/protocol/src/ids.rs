//! Identifiers that banger makes up itself.
//!
//! A VM's id is the root of every name banger gives to a kernel object, a folder or a process: whoever
//! knows the id can compute all of them, so nothing acquired for a VM can be lost track of. Ids are parsed
//! once, at the edge; the inside of the program never sees an unchecked string.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Length of every id, in lower-case hexadecimal digits (48 random bits).
///
/// Twelve because a tap's name is `bt` + id and Linux allows an interface name 15 bytes (IFNAMSIZ − 1).
const ID_DIGITS: usize = 12;

/// A string that is not twelve lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an id: ids are {ID_DIGITS} lower-case hexadecimal digits")]
pub struct ParseIdError(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("pattern" = "^[0-9a-f]{12}$")))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A fresh random id.
            ///
            /// # Panics
            /// When the kernel gives no random bytes, which Linux does not do once booted.
            #[must_use]
            pub fn random() -> Self {
                let mut bytes = [0_u8; ID_DIGITS / 2];
                rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                    .expect("getrandom cannot fail for a few bytes after boot");
                Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(text: String) -> Result<Self, ParseIdError> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == ID_DIGITS && text.bytes().all(hex) { Ok(Self(text)) } else { Err(ParseIdError(text)) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
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

id! {
    /// One virtual machine, for as long as it exists.
    VmId
}
id! {
    /// One long-running request; also the handle under which both daemons log it.
    OperationId
}
id! {
    /// Connections to a guest that are one piece of work, of which there is one at a time.
    TurnId
}

impl VmId {
    /// The name of this VM's tap device: `bt` and the id, 14 bytes, one below the kernel's limit.
    #[must_use]
    pub fn tap_name(&self) -> String {
        format!("bt{}", self.0)
    }

    /// The name of this VM's block device: `banger-` and the id, far below the device mapper's 127 bytes.
    #[must_use]
    pub fn device_name(&self) -> String {
        format!("banger-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_back_and_fits_an_interface_name() {
        let id = VmId::random();
        assert_eq!(id.as_str().parse::<VmId>(), Ok(id.clone()));
        assert!(id.tap_name().len() < 16, "IFNAMSIZ is 16 with its final NUL");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", "abc", "ABCDEF012345", "../../../etc", "0123456789abc", "01234567 9ab", "é12345678901"]
        {
            assert!(bad.parse::<VmId>().is_err(), "{bad:?} was taken for an id");
        }
    }
}
