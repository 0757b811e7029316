//! Kernel entries.

use crate::names::KernelName;
use crate::size::ByteSize;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct List {}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Show {
    pub kernel: KernelName,
}

/// The request carries one descriptor: a tar archive with `boot/vmlinuz-*` and `lib/modules/*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    pub name: KernelName,
    /// Where it came from, for people: `debian bookworm linux-image-cloud-amd64`.
    pub source: String,
    /// Replace an entry of this name instead of refusing.
    #[serde(default)]
    pub force: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Delete {
    pub kernel: KernelName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KernelDeleted"))]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    pub kernel: KernelName,
}

/// A kernel entry as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelView {
    pub name: KernelName,
    pub source: String,
    /// As `uname -r` prints it.
    pub version: String,
    pub arch: String,
    /// SHA-256 of the uncompressed kernel, in hexadecimal.
    pub sha256: String,
    pub disk_usage: ByteSize,
    /// RFC 3339, UTC.
    pub created: String,
}
