//! What `docker save` and `podman save` write: `manifest.json`, a config, and the layers as plain archives.
//!
//! Its layers have no digest of their own, and need none: they lie there unpacked, and the config tells what they
//! then hash to. The config is called by its digest.

use super::parts::Parts;
use super::{OpenError, Region};
use crate::manifest::{MAX_LAYERS, ManifestError};
use crate::{Image, Layer, Platform, config, metadata};
use banger_protocol::digest::Digest;
use serde::Deserialize;

const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn open(parts: &Parts, name: Option<&str>, wanted: &Platform) -> Result<Image, OpenError> {
    let manifest = parts.get(MANIFEST)?.ok_or_else(|| OpenError::NotAnArchive { path: parts.shown() })?;
    let saved: Vec<Saved> = metadata::parse(MANIFEST, &manifest.read(MANIFEST)?)?;
    let saved = choose(saved, name)?;
    if saved.layers.is_empty() {
        return Err(ManifestError::NoLayers.into());
    }
    if saved.layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooManyLayers(saved.layers.len()).into());
    }
    let document = need(parts, &saved.config)?.read(&saved.config)?;
    let digest = metadata::hash(&document);
    if let Some(promised) = digest_in_name(&saved.config) {
        metadata::check(&saved.config, &document, promised)?;
    }
    let taken = config::read(&document, saved.layers.len(), wanted)?;
    let layers = saved.layers.iter().zip(taken.diff_ids).map(|(part, diff_id)| {
        let Region { file, offset, length } = need(parts, part)?;
        Ok(Layer { file, offset, length, digest: None, diff_id })
    });
    let layers = layers.collect::<Result<_, OpenError>>()?;
    let own_name = saved.repo_tags.and_then(|tags| tags.into_iter().next());
    Ok(Image { digest, own_name, platform: taken.platform, config: taken.config, layers })
}

fn need(parts: &Parts, part: &str) -> Result<Region, OpenError> {
    parts.get(part)?.ok_or_else(|| OpenError::Missing { part: part.escape_debug().to_string() })
}

/// The image of this name: the whole of it, or what is left of it without the registry.
fn choose(saved: Vec<Saved>, name: Option<&str>) -> Result<Saved, OpenError> {
    let there = |saved: &[Saved]| {
        let names = saved.iter().flat_map(|image| image.repo_tags.iter().flatten());
        let names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).take(12).collect();
        if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") }
    };
    let count = saved.len();
    let names = there(&saved);
    let mut matching = saved.into_iter().filter(|image| match name {
        None => true,
        Some(wanted) => image.repo_tags.iter().flatten().any(|tag| {
            tag == wanted || tag.strip_suffix(wanted).is_some_and(|rest| rest.ends_with(['/', ':']))
        }),
    });
    match (matching.next(), matching.next(), name) {
        (Some(only), None, _) => Ok(only),
        (None, _, Some(wanted)) => Err(OpenError::NoName { wanted: wanted.to_owned(), there: names }),
        (None, _, None) => Err(ManifestError::Empty.into()),
        (Some(_), Some(_), _) => Err(OpenError::Ambiguous { count, there: names }),
    }
}

/// `<digest>.json`, or `blobs/sha256/<digest>`.
fn digest_in_name(path: &str) -> Option<Digest> {
    let file = path.rsplit('/').next()?;
    Digest::from_hex(file.strip_suffix(".json").unwrap_or(file))
}
