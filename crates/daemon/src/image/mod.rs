//! Images: a folder each, with the root file system and the seed of the work disk, or with where they are.
//!
//! Those in whose folders the files lie are managed: banger made them, or copied them, and deletes them. Of registered
//! ones it knows the places of files that belong to somebody else, and writes nothing there.

mod ingest;
mod promote;
mod register;
mod unbundle;

pub(crate) use ingest::{check, ingest};
pub(crate) use promote::promote;
pub(crate) use register::{check as check_register, no_agent_inside, register};
pub(crate) use unbundle::unbundle;

use crate::Services;
use crate::artefact::{Draft, Window, absent, build, disk_usage, explain, remove};
use crate::operation::{Ended, Handle};
use crate::store::{ImageRecord, Registered};
use banger_image::{Watch, rootfs};
use banger_protocol::daemon_api::image::{Deleted, ImageView};
use banger_protocol::names::ImageName;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::path::PathBuf;
use std::sync::Arc;

const ROOTFS: &str = rootfs::ROOTFS;
const WORK_SEED: &str = rootfs::WORK_SEED;

/// Where an image carries the agent, for kernels that bring an initrd of their own.
const AGENT_IN_GUEST: &str = "usr/lib/banger/banger-vsock-agent";

/// Where an image's files are.
#[derive(Debug)]
pub(crate) struct Files {
    pub rootfs: PathBuf,
    pub work_seed: PathBuf,
    /// Banger's own, whosever the others are.
    pub folder: PathBuf,
}

impl Files {
    /// Of an image whose record is gone, they are where a managed one has them.
    pub(crate) fn of(services: &Services, name: &ImageName, registered: Option<&Registered>) -> Self {
        let folder = services.state.images().join(name.as_str());
        let (rootfs, seed) = match registered {
            Some(Registered { rootfs, work_seed }) => (Some(rootfs.clone()), work_seed.clone()),
            None => (None, None),
        };
        Self {
            rootfs: rootfs.unwrap_or_else(|| folder.join(ROOTFS)),
            work_seed: seed.unwrap_or_else(|| folder.join(WORK_SEED)),
            folder,
        }
    }
}

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
    let files = Files::of(services, &image.name, image.registered.as_ref());
    ImageView {
        size: ByteSize::bytes(std::fs::metadata(&files.rootfs).map_or(0, |metadata| metadata.len())),
        disk_usage: disk_usage(&files.folder),
        rootfs_path: files.rootfs.display().to_string(),
        work_seed_path: files.work_seed.display().to_string(),
        managed: image.registered.is_none(),
        name: image.name,
        source: image.source,
        kernel: image.kernel,
        digest: image.digest,
        entries: image.entries,
        has_init: image.has_init,
        has_sshd: image.has_sshd,
        has_agent: image.has_agent,
        created: image.created,
        config: image.config,
    }
}

pub(crate) fn delete(services: &Services, name: ImageName) -> Result<Deleted, RpcError> {
    remove::<ImageRecord>(services, &services.state.images(), name.as_str())?;
    crate::kernel::remove_orphans(services);
    Ok(Deleted { image: name })
}

/// Makes an image under a name that nobody has, as an operation: `fill` fills its folder and says what is in it.
async fn make<F>(
    services: &Arc<Services>,
    name: ImageName,
    handle: &Handle,
    fill: F,
) -> Result<ImageView, Ended>
where
    F: FnOnce(&Making<'_>) -> Result<ImageRecord, RpcError> + Send + 'static,
{
    refuse_taken(services, &name)?;
    let (builder, for_build, of) = (services.clone(), handle.clone(), name.clone());
    build(handle, move |watch| {
        let failed = |error: &(dyn std::error::Error + 'static)| not_made(&of, error);
        let draft = Draft::begin(&builder, &builder.state.images(), &for_build).map_err(|e| failed(&e))?;
        let making = Making { services: &builder, draft: &draft, handle: &for_build, watch };
        let record = fill(&making)?;
        let published = draft
            .seal(&builder, &record)
            .and_then(|()| draft.publish(&builder, &Window::open(), &record, |_| false));
        published.map_err(|e| failed(&e))
    })
    .await?;
    tracing::info!(image = %name, "published");
    Ok(show(services, &name)?)
}

/// What an image is made with.
struct Making<'a> {
    services: &'a Services,
    draft: &'a Draft,
    handle: &'a Handle,
    watch: Watch<'a>,
}

fn not_made(name: &ImageName, error: &(dyn std::error::Error + 'static)) -> RpcError {
    explain(format!("the image `{name}` was not created"), error)
}

/// At once, before any work; the name is looked at again when it is published.
fn refuse_taken(services: &Services, name: &ImageName) -> Result<(), RpcError> {
    match show(services, name) {
        Ok(_) => Err(taken(name)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn taken(name: &ImageName) -> RpcError {
    RpcError::new(ErrorKind::AlreadyExists, format!("image `{name}` already exists"))
        .with_hint(format!("delete it with `banger image delete {name}`"))
}
