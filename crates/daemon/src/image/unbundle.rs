//! Making an image of a bundle.

use super::register::make_seed;
use super::{AGENT_IN_GUEST, Making, ROOTFS, make, not_made};
use crate::Services;
use crate::artefact::BundleManifestError;
use crate::operation::{Ended, Handle};
use crate::store::ImageRecord;
use banger_image::layer::Blob;
use banger_image::{Sha256, bundle, rootfs};
use banger_protocol::daemon_api::image::{ImageView, Unbundle};
use banger_protocol::image_config::ImageConfig;
use banger_protocol::wire::{ErrorKind, RpcError};
use serde::Deserialize;
use std::fs::File;
use std::sync::Arc;

/// What a bundle says about its root file system.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// A bundle of a kernel is none of an image.
    #[serde(rename = "kind")]
    _kind: IsImage,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    entries: Option<u64>,
    #[serde(default)]
    config: ImageConfig,
}

#[derive(Debug, Deserialize)]
enum IsImage {
    #[serde(rename = "image")]
    Image,
}

/// Makes an image of a bundle, as an operation.
pub(crate) async fn unbundle(
    services: &Arc<Services>,
    request: Unbundle,
    file: File,
    handle: &Handle,
) -> Result<ImageView, Ended> {
    make(services, request.name.clone(), handle, move |making| fill(making, request, &file)).await
}

fn fill(making: &Making<'_>, request: Unbundle, file: &File) -> Result<ImageRecord, RpcError> {
    let &Making { services, draft, handle, watch } = making;
    handle.stage("unpack the bundle");
    let Unbundle { name, source, kernel, bundle: place } = request;
    let digest = place.digest.map(|digest| Sha256(digest.sha256()));
    let blob = Blob { digest, ..Blob::new("the bundle", file, place.offset, place.length) };
    let manifest = bundle::unpack(&blob, &[ROOTFS], draft.path(), watch).map_err(|e| not_made(&name, &e))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|e| not_made(&name, &BundleManifestError(e)))?;
    if let Err(error) = manifest.config.check() {
        return Err(RpcError::new(ErrorKind::BadRequest, error.to_string()));
    }
    let rootfs_file = draft.path().join(ROOTFS);
    let found = rootfs::inspect(&rootfs_file, AGENT_IN_GUEST).map_err(|e| not_made(&name, &e))?;
    handle.stage("make the seed of work disks");
    make_seed(services, &rootfs_file, draft, watch).map_err(|e| not_made(&name, &e))?;
    Ok(ImageRecord {
        name,
        source,
        kernel,
        digest: manifest.digest,
        entries: manifest.entries,
        has_init: found.init.is_some(),
        has_sshd: found.sshd,
        has_agent: found.agent,
        no_agent: false,
        registered: None,
        created: crate::store::now(),
        config: manifest.config,
    })
}
