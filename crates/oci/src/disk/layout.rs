//! The image layout: `oci-layout`, `index.json`, and blobs by digest.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

use super::{Blobs, OpenError};
use crate::manifest::{self, Document, MAX_DEPTH, Manifest, ManifestError};
use crate::{Image, Layer, Platform, config};
use banger_protocol::digest::Digest;

pub(super) fn open(blobs: &Blobs<'_>, tag: Option<&str>, wanted: &Platform) -> Result<Image, OpenError> {
    if blobs.get("oci-layout")?.is_none() {
        return Err(OpenError::NotALayout { path: blobs.shown() });
    }
    let index = blobs.get("index.json")?;
    let index = index.ok_or_else(|| OpenError::Missing { part: "index.json".to_owned() })?;
    let Document::Index(entries) = manifest::read("", &index.read("index.json")?)? else {
        return Err(ManifestError::NotAManifest("a manifest in place of the index".to_owned()).into());
    };
    let entries = manifest::tagged(entries, tag)?;
    let (digest, manifest) = find(blobs, entries, wanted)?;
    let document = blobs.document(manifest.config.digest, manifest.config.size)?;
    let taken = config::read(&document, manifest.layers.len(), wanted)?;
    let layers = manifest.layers.iter().zip(taken.diff_ids).map(|(layer, diff_id)| {
        let region = blobs.blob(layer.digest, layer.size)?;
        Ok(Layer {
            file: region.file,
            offset: region.offset,
            length: region.length,
            digest: Some(layer.digest),
            diff_id,
        })
    });
    let layers = layers.collect::<Result<_, OpenError>>()?;
    Ok(Image { digest, own_name: None, platform: taken.platform, config: taken.config, layers })
}

/// The manifest that the entries lead to, perhaps through further indexes.
fn find(
    blobs: &Blobs<'_>,
    mut entries: Vec<manifest::Descriptor>,
    wanted: &Platform,
) -> Result<(Digest, Manifest), OpenError> {
    for _ in 0..MAX_DEPTH {
        let chosen = manifest::choose(entries, wanted)?;
        let bytes = blobs.document(chosen.digest, chosen.size)?;
        match manifest::read(&chosen.media_type, &bytes)? {
            Document::Manifest(manifest) => return Ok((chosen.digest, manifest)),
            Document::Index(further) => entries = further,
        }
    }
    Err(ManifestError::TooDeep.into())
}
