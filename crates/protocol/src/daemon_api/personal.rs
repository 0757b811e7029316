//! What of the user's own every guest is given at each of its starts.
//!
//! The daemon looks into no folder of the user's. Whoever starts a VM reads there what has to be given and hands it over;
//! it is kept, and serves for starts that nobody asks for too, such as after a reboot.

use serde::{Deserialize, Serialize};

/// Longest text of a file. What is longer, or is no text, goes into a guest over a connection when that is up.
pub const LONGEST_TEXT: usize = 64 << 10;
/// Most bytes of all of them; with what JSON adds they fit a line.
pub const MOST_TEXT: usize = 128 << 10;
pub const MOST_FILES: usize = 256;
/// Longest path, in bytes (`PATH_MAX` less its NUL and `/root/`).
pub const LONGEST_PATH: usize = 4089;

/// Replaces what was handed over before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Personal"))]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// At most [`MOST_FILES`], of [`MOST_TEXT`] bytes together.
    #[serde(default)]
    pub files: Vec<File>,
    /// Who commits, where the guest does not say so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitIdentity>,
}

/// A file of root's in every guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PersonalFile"))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Below `/root`: plain names with `/` between them.
    pub path: String,
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// At most [`LONGEST_TEXT`] bytes.
    pub text: String,
}

/// Either may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GitIdentity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// It is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PersonalKept"))]
#[serde(deny_unknown_fields)]
pub struct Kept {}

impl File {
    /// What speaks against it.
    #[must_use]
    pub fn complaint(&self) -> Option<&'static str> {
        let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        if self.path.len() > LONGEST_PATH || !self.path.split('/').all(plain) {
            return Some("its path is not a list of plain names");
        }
        if self.mode > 0o777 {
            return Some("its mode has more than permissions in it");
        }
        (self.text.len() > LONGEST_TEXT).then_some("it is too long")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_below_roots_home_and_is_small() {
        let file = |path: &str| File { path: path.to_owned(), mode: 0o600, text: String::new() };
        for path in ["a", ".config/b", "ü x"] {
            assert_eq!(file(path).complaint(), None, "{path}");
        }
        for path in ["", "/a", "a//b", "../a", "a/..", ".", "a\0", &"x/".repeat(3000)] {
            assert!(file(path).complaint().is_some(), "{path}");
        }
        assert!(File { mode: 0o4755, ..file("a") }.complaint().is_some());
        assert!(File { text: "x".repeat(LONGEST_TEXT + 1), ..file("a") }.complaint().is_some());
    }
}
