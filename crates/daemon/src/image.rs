//! Images: a folder each, with the root file system and the seed of the work disk.

use crate::Services;
use crate::artefact::{Draft, absent, build, disk_usage, explain, hexadecimal, remove};
use crate::operation::{Ended, Handle};
use crate::store::ImageRecord;
use banger_image::layer::{Blob, Layer, LayerError, Limits};
use banger_image::rootfs::{self, Inject};
use banger_image::{Sha256, Watch};
use banger_protocol::daemon_api::image::{Deleted, ImageView, Ingest, LayerSource, MAX_LAYERS};
use banger_protocol::names::ImageName;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub(crate) const ROOTFS: &str = rootfs::ROOTFS;
pub(crate) const WORK_SEED: &str = rootfs::WORK_SEED;

pub(crate) fn list(services: &Services) -> Result<Vec<ImageView>, RpcError> {
    let all: Vec<ImageRecord> = services.store.all()?;
    Ok(all.into_iter().map(|image| view(services, image)).collect())
}

pub(crate) fn show(services: &Services, name: &ImageName) -> Result<ImageView, RpcError> {
    let found = services.store.find(name.as_str())?;
    found
        .map(|image| view(services, image))
        .ok_or_else(|| absent::<ImageRecord>(&services.state.images(), name.as_str()))
}

fn view(services: &Services, image: ImageRecord) -> ImageView {
    let folder = services.state.images().join(image.name.as_str());
    let rootfs = folder.join(ROOTFS);
    ImageView {
        size: ByteSize::bytes(std::fs::metadata(&rootfs).map_or(0, |metadata| metadata.len())),
        disk_usage: disk_usage(&folder),
        rootfs_path: rootfs.display().to_string(),
        work_seed_path: folder.join(WORK_SEED).display().to_string(),
        name: image.name,
        source: image.source,
        kernel: image.kernel,
        digest: image.digest,
        entries: image.entries,
        has_init: image.has_init,
        has_sshd: image.has_sshd,
        created: image.created,
        config: image.config,
    }
}

/// Refuses a request whose parts do not fit together.
pub(crate) fn check(request: &Ingest, layers: &[File]) -> Result<(), RpcError> {
    let bad = |message: String| Err(RpcError::new(ErrorKind::BadRequest, message));
    let (told, came) = (request.layers.len(), layers.len());
    if told != came {
        return bad(format!("the request tells of {told} layers and carries {came} descriptors"));
    }
    if told == 0 || told > MAX_LAYERS {
        return bad(format!("an image has 1 to {MAX_LAYERS} layers, and this one {told}"));
    }
    request.config.check().or_else(|error| bad(error.to_string()))
}

/// Makes an image of its layers, as an operation.
pub(crate) async fn ingest(
    services: &Arc<Services>,
    request: Ingest,
    layers: Vec<File>,
    handle: &Handle,
) -> Result<ImageView, Ended> {
    let name = request.name.clone();
    refuse_taken(services, &name)?;
    handle.stage("unpack");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    build(handle, move |watch| make(&builder, request, &layers, &handle_for_build, watch)).await?;
    tracing::info!(image = %name, "published");
    Ok(show(services, &name)?)
}

fn refuse_taken(services: &Services, name: &ImageName) -> Result<(), RpcError> {
    match show(services, name) {
        Ok(_) => Err(RpcError::new(ErrorKind::AlreadyExists, format!("there is already an image `{name}`"))
            .with_hint(format!("`banger image delete {name}` removes it"))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn make(
    services: &Services,
    request: Ingest,
    files: &[File],
    handle: &Handle,
    watch: Watch<'_>,
) -> Result<(), RpcError> {
    let message = || format!("the image `{}` was not made", request.name);
    let draft = Draft::begin(&services.state.images(), handle).map_err(|e| explain(message(), &e))?;
    let defaults = rootfs::Options::default();
    let agent = crate::kernel::agent(services).map_err(|e| explain(message(), &e))?;
    let inject = vec![Inject { path: AGENT_IN_GUEST.to_owned(), mode: 0o755, bytes: agent }];
    let size = request.size.map_or(defaults.size, ByteSize::as_bytes);
    let options = rootfs::Options { size, inject, ..defaults };
    let layers =
        open(&request, files, draft.path(), &options.limits, watch).map_err(|e| explain(message(), &e))?;
    handle.stage("write the file system");
    let facts = rootfs::build(&layers, &options, draft.path(), watch).map_err(|e| explain(message(), &e))?;
    let record = ImageRecord {
        name: request.name.clone(),
        source: request.source.clone(),
        kernel: request.kernel.clone(),
        digest: hexadecimal(&facts.digest.0),
        entries: facts.entries,
        has_init: facts.init.is_some(),
        has_sshd: facts.sshd,
        created: crate::store::now(),
        config: request.config.clone(),
    };
    draft.publish(&record, &services.store, false).map_err(|e| explain(message(), &e))
}

/// Every layer, compared with its digests and unpacked.
fn open(
    request: &Ingest,
    files: &[File],
    scratch: &Path,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<Vec<Layer>, LayerError> {
    let sources = request.layers.iter().zip(files).enumerate();
    sources
        .map(|(index, (source, file))| {
            let name = layer_name(index, request.layers.len(), source);
            let hash = |digest: banger_protocol::digest::Digest| Sha256(digest.sha256());
            let blob = Blob {
                digest: source.digest.map(hash),
                diff_id: source.diff_id.map(hash),
                ..Blob::new(&name, file, source.offset, source.length)
            };
            Layer::of_blob(&blob, scratch, limits, watch)
        })
        .collect()
}

/// What errors call a layer: its place, and its digest where it has one.
fn layer_name(index: usize, count: usize, source: &LayerSource) -> String {
    match source.digest.or(source.diff_id) {
        Some(digest) => format!("{} of {count} ({digest})", index + 1),
        None => format!("{} of {count}", index + 1),
    }
}

/// Where an image carries the agent, for kernels that bring an initrd of their own.
const AGENT_IN_GUEST: &str = "usr/lib/banger/banger-vsock-agent";

pub(crate) fn delete(services: &Services, name: ImageName) -> Result<Deleted, RpcError> {
    remove::<ImageRecord>(&services.state.images(), name.as_str(), &services.store)?;
    Ok(Deleted { image: name })
}
