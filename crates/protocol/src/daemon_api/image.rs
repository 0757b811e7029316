//! Images.

use crate::names::{ImageName, KernelName};
use crate::size::ByteSize;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Show {
    pub image: ImageName,
}

/// The request carries one descriptor: a tar archive that can be read at any offset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    pub name: ImageName,
    /// Where it came from, for people: `debian bookworm`.
    pub source: String,
    /// The kernel its VMs start with unless told otherwise.
    pub kernel: KernelName,
    /// Size of the root file system; the daemon's default when not given.
    #[serde(default)]
    pub size: Option<ByteSize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    pub image: ImageName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    pub image: ImageName,
}

/// An image as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageView {
    pub name: ImageName,
    pub source: String,
    pub kernel: KernelName,
    /// SHA-256 of the archive it was made of, in hexadecimal.
    pub digest: String,
    /// Size of the root file system as a guest sees it.
    pub size: ByteSize,
    /// What it takes on the host's disk.
    pub disk_usage: ByteSize,
    pub entries: u64,
    pub has_init: bool,
    pub has_sshd: bool,
    /// RFC 3339, UTC.
    pub created: String,
    pub rootfs_path: String,
    pub work_seed_path: String,
}
