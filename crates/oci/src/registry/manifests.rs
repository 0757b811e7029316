//! From a tag or a digest to the one manifest that is wanted.

use super::{PullError, Registry};
use crate::Platform;
use crate::manifest::{self, Document, MAX_DEPTH, Manifest, ManifestError};
use crate::metadata::{self, MAX_METADATA, MetadataError};
use banger_protocol::digest::Digest;
use oci_client::RegistryOperation;
use oci_client::secrets::RegistryAuth;

pub(super) async fn find(
    registry: &Registry<'_>,
    auth: &RegistryAuth,
    platform: &Platform,
) -> Result<(Digest, Manifest), PullError> {
    let mut wanted = registry.reference.digest;
    let mut media_type = String::new();
    // Now, so that a refusal is told as one: the client would go on as nobody.
    let authorized = registry.client.auth(&registry.at(wanted), auth, RegistryOperation::Pull).await;
    authorized.map_err(|error| registry.explain("access", error))?;
    for _ in 0..=MAX_DEPTH {
        let (digest, bytes) = fetch(registry, auth, wanted).await?;
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
    registry: &Registry<'_>,
    auth: &RegistryAuth,
    wanted: Option<Digest>,
) -> Result<(Digest, Vec<u8>), PullError> {
    let at = registry.at(wanted);
    let what = match (wanted, &registry.reference.tag) {
        (Some(digest), _) => format!("manifest {digest} of `{}`", registry.reference.repository),
        (None, tag) => {
            format!("`{}:{}`", registry.reference.repository, tag.as_deref().unwrap_or("latest"))
        }
    };
    let accepted: Vec<&str> = manifest::INDEXES.into_iter().chain(manifest::MANIFESTS).collect();
    let pulled = registry.client.pull_manifest_raw(&at, auth, &accepted).await;
    let (bytes, _) = pulled.map_err(|error| registry.explain(&what, error))?;
    if bytes.len() as u64 > MAX_METADATA {
        return Err(MetadataError::TooLong { what }.into());
    }
    if let Some(digest) = wanted {
        metadata::check(&what, &bytes, digest)?;
    }
    Ok((metadata::hash(&bytes), bytes.to_vec()))
}
