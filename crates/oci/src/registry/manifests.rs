//! From a tag or a digest to the one manifest that is wanted.

use super::PullError;
use super::host::Host;
use crate::manifest::{self, Document, MAX_DEPTH, Manifest, ManifestError};
use crate::metadata;
use crate::{Platform, RegistryReference};
use banger_protocol::digest::Digest;

pub(super) async fn find(
    host: &Host,
    reference: &RegistryReference,
    platform: &Platform,
) -> Result<(Digest, Manifest), PullError> {
    let mut wanted = reference.digest;
    let mut media_type = String::new();
    for _ in 0..=MAX_DEPTH {
        let (digest, bytes) = fetch(host, reference, wanted).await?;
        match manifest::read(&media_type, &bytes)? {
            Document::Manifest(manifest) => return Ok((digest, manifest)),
            Document::Index(entries) => {
                let chosen = manifest::choose(entries, platform)?;
                wanted = Some(chosen.digest);
                media_type = chosen.media_type;
            }
        }
    }
    Err(ManifestError::TooDeep.into())
}

async fn fetch(
    host: &Host,
    reference: &RegistryReference,
    wanted: Option<Digest>,
) -> Result<(Digest, Vec<u8>), PullError> {
    let repository = &reference.repository;
    let (which, what) = match (wanted, reference.tag.as_deref().unwrap_or("latest")) {
        (Some(digest), _) => (digest.to_string(), format!("manifest {digest} of `{repository}`")),
        (None, tag) => (tag.to_owned(), format!("`{repository}:{tag}`")),
    };
    let accepted: Vec<&str> = manifest::INDEXES.into_iter().chain(manifest::MANIFESTS).collect();
    let bytes = host.manifest(&which, &accepted, &what).await?;
    if let Some(digest) = wanted {
        metadata::check(&what, &bytes, digest)?;
    }
    Ok((metadata::hash(&bytes), bytes))
}
