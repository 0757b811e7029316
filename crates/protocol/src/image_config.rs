//! What an image says about the programs in it.
//!
//! It comes with the image, is kept with it, and reaches the guest on the config drive, where the agent lets it
//! stand behind whatever a command was explicitly given.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything is optional; an image made of packages says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// A name or a number, perhaps `:` and a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The beginning of the command that the image is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The rest of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
}

/// Most bytes that all strings of a config may have together: it has to fit a request and a config drive.
pub const MAX_CONFIG: usize = 256 * 1024;

/// Why a config cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    #[error("the image's config is longer than {MAX_CONFIG} bytes")]
    TooLong,
    #[error("the image's config has a string with a zero byte in it")]
    ZeroByte,
    #[error("the image's config has a variable without a name")]
    NamelessVariable,
    #[error("the working directory in the image's config is not absolute")]
    RelativeDirectory,
}

impl ImageConfig {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The command that the image is for; empty when it names none.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// # Errors
    /// When no process could be given this.
    pub fn check(&self) -> Result<(), BadConfig> {
        let strings = || {
            let variables = self.env.iter().flat_map(|(name, value)| [name, value]);
            let others = self.working_dir.iter().chain(&self.user);
            variables.chain(others).chain(&self.entrypoint).chain(&self.cmd)
        };
        if strings().map(|string| string.len() + 8).sum::<usize>() > MAX_CONFIG {
            return Err(BadConfig::TooLong);
        }
        if strings().any(|string| string.contains('\0')) {
            return Err(BadConfig::ZeroByte);
        }
        if self.env.keys().any(|name| name.is_empty() || name.contains('=')) {
            return Err(BadConfig::NamelessVariable);
        }
        if self.working_dir.as_ref().is_some_and(|directory| !directory.starts_with('/')) {
            return Err(BadConfig::RelativeDirectory);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_no_process_could_be_given_is_refused() {
        let with = |name: &str, value: &str| ImageConfig {
            env: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..ImageConfig::default()
        };
        let directory = ImageConfig { working_dir: Some("app".to_owned()), ..ImageConfig::default() };
        assert_eq!(ImageConfig::default().check(), Ok(()));
        assert_eq!(with("A", "b=c").check(), Ok(()));
        assert_eq!(with("", "x").check(), Err(BadConfig::NamelessVariable));
        assert_eq!(with("A", "x\0y").check(), Err(BadConfig::ZeroByte));
        assert_eq!(with("A", &"x".repeat(MAX_CONFIG)).check(), Err(BadConfig::TooLong));
        assert_eq!(directory.check(), Err(BadConfig::RelativeDirectory));
    }

    #[test]
    fn the_command_is_entrypoint_and_rest() {
        let config = ImageConfig {
            entrypoint: vec!["/run.sh".to_owned()],
            cmd: vec!["serve".to_owned()],
            ..ImageConfig::default()
        };
        assert_eq!(config.command(), ["/run.sh", "serve"]);
        assert!(ImageConfig::default().command().is_empty());
    }
}
