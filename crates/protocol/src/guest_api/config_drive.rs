//! The config drive: how a guest learns who it is.
//!
//! A disk holding a ustar archive, its length a multiple of 512 as a block device needs. The daemon writes it
//! at every start and the guest's init reads it before it starts the image's own init. The archive's entries
//! are regular files with a mode, owned by root, named by absolute guest paths without the leading `/`; one of
//! them, [`CONFIG_ENTRY`], is not laid down but read as [`GuestConfig`].

use crate::image_config::ImageConfig;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The archive entry that holds the [`GuestConfig`] as JSON. First in the archive.
pub const CONFIG_ENTRY: &str = "banger.json";

/// Largest config drive, in bytes.
pub const MAX_SIZE: u64 = 8 << 20;

/// Where the agent remembers which files a config drive brought, so that the next one's absences are removals.
pub const APPLIED_LIST: &str = "/var/lib/banger/config-files";

/// Root's settings for git. A file of this name that begins with [`GIT_CONFIG_MARK`] is laid down unless the guest has made
/// one there that is its own.
pub const GIT_CONFIG: &str = "root/.gitconfig";

/// The first line of a [`GIT_CONFIG`] that nobody but the host has written.
pub const GIT_CONFIG_MARK: &str = "# By banger, at every start, until something else is in this file.";

/// Where the agent keeps what it laid down as [`GIT_CONFIG`], to know it again.
pub const GIT_CONFIG_LAID: &str = "/var/lib/banger/gitconfig";

/// What the guest's init does itself instead of laying down a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    pub hostname: String,
    pub network: Option<GuestNetwork>,
    /// What the image says about its programs.
    #[serde(default, skip_serializing_if = "ImageConfig::is_empty")]
    pub image: ImageConfig,
}

/// The guest's only interface, `eth0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestNetwork {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Ipv4Addr,
}
