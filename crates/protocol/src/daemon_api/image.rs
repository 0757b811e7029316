//! Images.

use crate::digest::Digest;
use crate::image_config::ImageConfig;
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
    pub image: ImageName,
}

/// Most layers of an image: as many as an overlay file system takes, which no builder goes beyond.
pub const MAX_LAYERS: usize = 127;

/// The request carries one descriptor for each layer, lowest first: a file that can be read at any offset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Lowest first, as many as there are descriptors.
    pub layers: Vec<LayerSource>,
    #[serde(default)]
    pub config: ImageConfig,
}

/// Where one layer is in its file, and what it must turn out to be. Its compression is told by its first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayerSource {
    #[serde(default)]
    pub offset: u64,
    /// Bytes, as stored.
    pub length: u64,
    /// Of the bytes as stored.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Of the tar archive inside.
    #[serde(default)]
    pub diff_id: Option<Digest>,
}

/// Makes known a root file system that stays where it is. One that is registered under the name already is updated.
///
/// Without `kernel_ref` the request carries an archive of a kernel's files, as `kernel.ingest` takes it, and then, with
/// `own_initrd`, its initrd: they become a kernel of the image's name, which is the image's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub name: ImageName,
    /// Absolute path of an ext4 file system.
    pub rootfs: String,
    /// Absolute path of one that is the image's `/root`; made of it when not given.
    #[serde(default)]
    pub work_seed: Option<String>,
    #[serde(default)]
    pub kernel_ref: Option<KernelName>,
    #[serde(default)]
    pub own_initrd: bool,
    /// Accept a guest that nobody will be able to reach.
    #[serde(default)]
    pub no_agent: bool,
}

/// Makes an image of a bundle; the request carries its descriptor. A bundle's signature is its caller's to verify.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unbundle {
    pub name: ImageName,
    /// Where it came from, for people.
    pub source: String,
    pub kernel: KernelName,
    pub bundle: LayerSource,
}

/// Copies what is registered, so that it is banger's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Promote {
    pub image: ImageName,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Delete {
    pub image: ImageName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ImageDeleted"))]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    pub image: ImageName,
}

/// An image as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageView {
    pub name: ImageName,
    pub source: String,
    pub kernel: KernelName,
    /// Whether its files are banger's; those of one that is not are where they were registered.
    pub managed: bool,
    /// SHA-256 over everything a guest can see in it, in hexadecimal, of images that banger made itself.
    pub digest: Option<String>,
    /// Size of the root file system as a guest sees it.
    pub size: ByteSize,
    /// What it takes on the host's disk.
    pub disk_usage: ByteSize,
    /// Files in it, of images that banger made itself.
    pub entries: Option<u64>,
    pub has_init: bool,
    pub has_sshd: bool,
    /// Whether it can be started by an initrd of its own.
    pub has_agent: bool,
    /// RFC 3339, UTC.
    pub created: String,
    pub rootfs_path: String,
    pub work_seed_path: String,
    /// What it says about the programs in it.
    #[serde(default, skip_serializing_if = "ImageConfig::is_empty")]
    pub config: ImageConfig,
}
