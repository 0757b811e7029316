//! Published container images, down to the files that contain their layers.
//!
//! A [`Reference`] says where an image is. Resolving it reads an index, selects a platform, reads the manifest and the
//! config, and ends with an [`Image`]: the config as a guest needs it, and for every layer an open file, a place in it, and
//! the digests it must have. Nothing is unpacked here and nothing is trusted: sizes are limited before anything is read,
//! manifests and configs are compared with their digests before they are parsed, and the digests of the layers are passed
//! to whoever unpacks and verifies them.
//!
//! ```text
//! reference ─▶ index (perhaps several) ─▶ manifest ─▶ config
//!                   platform                    └───▶ layers: file, place, digest, diff id
//! ```
//!
//! Layers from a registry come through a [`cache`] by digest, and what is cached is not downloaded again.
//!
//! [`bundle`]s are images and kernels that were built elsewhere: one file, with a digest and a signature.
//!
//! Metadata is handled leniently where the image specification requires it, for unknown fields, and strictly for everything
//! that is used.

pub mod bundle;
pub mod cache;
mod config;
pub mod disk;
#[cfg(test)]
mod fuzz;
mod manifest;
mod metadata;
mod platform;
mod reference;
pub mod registry;
mod resume;

pub use config::ConfigError;
pub use manifest::{MAX_LAYERS, ManifestError};
pub use metadata::MetadataError;
pub use platform::{ParsePlatformError, Platform};
pub use reference::{DiskKind, DiskReference, ParseReferenceError, Reference, RegistryReference};

use banger_protocol::digest::Digest;
use banger_protocol::image_config::ImageConfig;
use std::fs::File;

/// An image whose layers are at hand.
#[derive(Debug)]
pub struct Image {
    /// Of its manifest: the same digest is the same image, wherever it came from.
    pub digest: Digest,
    /// What it is called where it came from, if that says more than the reference.
    pub own_name: Option<String>,
    pub platform: Platform,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// Where the bytes of one layer are.
#[derive(Debug)]
pub struct Layer {
    pub file: File,
    pub offset: u64,
    pub length: u64,
    /// Of these bytes; none where only the diff id is known.
    pub digest: Option<Digest>,
    /// Of the archive inside, from the image's config.
    pub diff_id: Digest,
}
