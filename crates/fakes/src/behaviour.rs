//! What a fake machine does, as it stands at the beginning of its work disk: a JSON object, everything not named being
//! proper, and so is everything where nothing stands. The disk may hold a file system as well, ext4 leaving its first bytes to whoever boots from it.

use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Where ext4's own begins.
const BOOT_BLOCK: u64 = 1024;

/// The folder's file that lets a machine go on which waits to be told.
pub const GO: &str = "go";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    pub vmm: Vmm,
    pub boot: Boot,
    pub sync: Sync,
    pub answers: Answers,
}

/// What the VMM does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vmm {
    #[default]
    Runs,
    /// Complains and ends before there is a machine.
    Refuses,
    /// Ends as soon as there is a machine.
    Ends,
}

/// How far the guest comes by itself, and what it tells the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    #[default]
    Usable,
    /// To its agent; it becomes usable when [`GO`] appears.
    AgentOnly,
    /// Nowhere until [`GO`] appears, then all the way.
    WhenTold,
    /// Reports that it cannot come up, then turns itself off.
    Fails,
    /// All the way, after talking nonsense to the host.
    Babbles,
}

/// What becomes of a request to write everything to the disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    #[default]
    Done,
    Ignored,
}

/// Whether what the agent says is of the agreed form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    #[default]
    Proper,
    Lies,
}

/// Why it is not known how to behave.
#[derive(Debug, thiserror::Error)]
pub enum BehaviourError {
    #[error("the work disk cannot be read")]
    Read(#[source] io::Error),
    #[error("the work disk does not hold a behaviour")]
    Parse(#[source] serde_json::Error),
}

impl Behaviour {
    /// # Errors
    /// When the disk holds something else.
    pub fn read(work_disk: &Path) -> Result<Self, BehaviourError> {
        let mut text = Vec::new();
        let disk = File::open(work_disk).map_err(BehaviourError::Read)?;
        disk.take(BOOT_BLOCK).read_to_end(&mut text).map_err(BehaviourError::Read)?;
        let length = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        if length == 0 {
            return Ok(Self::default());
        }
        serde_json::from_slice(&text[..length]).map_err(BehaviourError::Parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_proper_and_what_is_misspelt_is_refused() {
        assert_eq!(serde_json::from_str::<Behaviour>("{}").unwrap(), Behaviour::default());
        let fails: Behaviour = serde_json::from_str(r#"{"boot":"fails"}"#).unwrap();
        assert_eq!(fails, Behaviour { boot: Boot::Fails, ..Behaviour::default() });
        for wrong in [r#"{"bot":"fails"}"#, r#"{"boot":"failed"}"#, "", "ext4"] {
            assert!(serde_json::from_str::<Behaviour>(wrong).is_err(), "{wrong}");
        }
    }
}
