//! Making a registered image banger's own.

use super::register::make_seed;
use super::{Files, ROOTFS, WORK_SEED, show};
use crate::Services;
use crate::artefact::{Draft, PublishError, Window, absent, build, explain};
use crate::clone::{CloneError, clone_while};
use crate::operation::{Ended, Handle};
use crate::store::ImageRecord;
use crate::vm::Planted;
use banger_image::Watch;
use banger_protocol::daemon_api::image::ImageView;
use banger_protocol::names::ImageName;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::path::Path;
use std::sync::Arc;

/// A file that was not copied.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Clone(#[from] CloneError),
    #[error(transparent)]
    Planted(#[from] Planted),
}

/// Copies an image's files into its folder, as an operation. VMs that use it go on with the copies.
pub(crate) async fn promote(
    services: &Arc<Services>,
    name: ImageName,
    handle: &Handle,
) -> Result<ImageView, Ended> {
    let found = services.store.find::<ImageRecord>(name.as_str()).map_err(RpcError::from)?;
    let image = found.ok_or_else(|| absent::<ImageRecord>(&services.state.images(), name.as_str()))?;
    if image.registered.is_none() {
        let error =
            RpcError::new(ErrorKind::Refused, format!("the image `{name}` is already in banger's storage"));
        return Err(error.with_hint(format!("`banger image show {name}` shows where its files are")).into());
    }
    handle.stage("copy the files");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    build(handle, move |watch| make(&builder, image, &handle_for_build, watch)).await?;
    tracing::info!(image = %name, "promoted");
    Ok(show(services, &name)?)
}

fn make(services: &Services, image: ImageRecord, handle: &Handle, watch: Watch<'_>) -> Result<(), RpcError> {
    let message = || format!("the image `{}` was not promoted", image.name);
    let files = Files::of(services, &image.name, image.registered.as_ref());
    let draft =
        Draft::begin(services, &services.state.images(), handle).map_err(|e| explain(message(), &e))?;
    let copy = |from: &Path, name: &str| -> Result<(), CopyError> {
        let wanted = || !handle.is_cancelled();
        services.faults.around(|| Ok(clone_while(from, &draft.path().join(name), &wanted)?))
    };
    copy(&files.rootfs, ROOTFS).map_err(|e| explain(message(), &e))?;
    if files.work_seed.exists() {
        copy(&files.work_seed, WORK_SEED).map_err(|e| explain(message(), &e))?;
    } else {
        handle.warn(format!(
            "{} is gone: the work disks will have what the image has in /root",
            files.work_seed.display()
        ));
        make_seed(services, &draft.path().join(ROOTFS), &draft, watch).map_err(|e| explain(message(), &e))?;
    }
    let promoted = ImageRecord { registered: None, ..image.clone() };
    draft.seal(services, &promoted).map_err(|e| explain(message(), &e))?;
    // Whatever was registered under the name meanwhile is not what was copied.
    let still = |present: &ImageRecord| *present == image;
    let published = draft.publish(services, &Window::open(), &promoted, still);
    published.map_err(|error| match error {
        PublishError::NameTaken(_) => {
            RpcError { kind: ErrorKind::AlreadyExists, ..explain(message(), &error) }
        }
        error => explain(message(), &error),
    })
}
