//! Kernel entries.

use super::image::LayerSource;
use crate::names::{ImageName, KernelName};
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

/// The request carries a tar archive with `boot/vmlinuz-*` and `lib/modules/*`, and then, with `own_initrd`, an initrd
/// to be used as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    pub name: KernelName,
    /// Where it came from, for people: `debian bookworm linux-image-cloud-amd64`.
    pub source: String,
    /// The distribution it is of, for people.
    #[serde(default)]
    pub distro: Option<String>,
    #[serde(default)]
    pub own_initrd: bool,
    /// Replace an entry of this name instead of refusing.
    #[serde(default)]
    pub force: bool,
}

/// Makes a kernel entry of a bundle; the request carries its descriptor. A bundle's signature is its caller's to verify.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unbundle {
    pub name: KernelName,
    /// Where it came from, for people.
    pub source: String,
    pub bundle: LayerSource,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distro: Option<String>,
    /// Whether it starts guests with an initrd that came with it, and not with banger's.
    pub own_initrd: bool,
    /// The image that it came with and goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_image: Option<ImageName>,
    /// As `uname -r` prints it.
    pub version: String,
    pub arch: String,
    /// SHA-256 of the uncompressed kernel, in hexadecimal.
    pub sha256: String,
    pub disk_usage: ByteSize,
    /// RFC 3339, UTC.
    pub created: String,
}
