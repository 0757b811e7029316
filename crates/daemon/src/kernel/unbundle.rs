//! Making a kernel entry of a bundle.

use super::{KERNEL, MODULES, not_made, show, write_initrd};
use crate::Services;
use crate::artefact::{BundleManifestError, Draft, Window, build, explain, hexadecimal};
use crate::operation::{Ended, Handle};
use crate::store::KernelRecord;
use banger_image::layer::Blob;
use banger_image::{Sha256, Watch, bundle, kernel};
use banger_protocol::daemon_api::kernel::{KernelView, Unbundle};
use banger_protocol::wire::{ErrorKind, RpcError};
use serde::Deserialize;
use std::fs::File;
use std::sync::Arc;

/// What a bundle says about its kernel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// A bundle of an image is none of a kernel.
    #[serde(rename = "kind")]
    _kind: IsKernel,
    version: String,
    arch: String,
    #[serde(default)]
    distro: Option<String>,
    #[serde(default)]
    boot_modules: Vec<String>,
}

#[derive(Debug, Deserialize)]
enum IsKernel {
    #[serde(rename = "kernel")]
    Kernel,
}

/// Makes a kernel entry of a bundle, as an operation.
pub(crate) async fn unbundle(
    services: &Arc<Services>,
    request: Unbundle,
    file: File,
    handle: &Handle,
) -> Result<KernelView, Ended> {
    let name = request.name.clone();
    if !request.force && show(services, &name).is_ok() {
        let error = RpcError::new(ErrorKind::AlreadyExists, format!("kernel `{name}` already exists"));
        return Err(error.with_hint("use `--force` to replace it").into());
    }
    handle.stage("unpack the bundle");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    build(handle, move |watch| make(&builder, request, &file, &handle_for_build, watch)).await?;
    tracing::info!(kernel = %name, "published");
    Ok(show(services, &name)?)
}

fn make(
    services: &Services,
    request: Unbundle,
    file: &File,
    handle: &Handle,
    watch: Watch<'_>,
) -> Result<(), RpcError> {
    let Unbundle { name, source, bundle: place, force } = request;
    let message = || not_made(&name);
    let draft =
        Draft::begin(services, &services.state.kernels(), handle).map_err(|e| explain(message(), &e))?;
    let digest = place.digest.map(|digest| Sha256(digest.sha256()));
    let blob = Blob { digest, ..Blob::new("the bundle", file, place.offset, place.length) };
    let files = [KERNEL, MODULES, kernel::BOOT_MODULES];
    let manifest = bundle::unpack(&blob, &files, draft.path(), watch).map_err(|e| explain(message(), &e))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|e| explain(message(), &BundleManifestError(e)))?;
    let vmlinux = std::fs::read(draft.path().join(KERNEL));
    let vmlinux = vmlinux.map_err(|e| explain(message(), &e))?;
    write_initrd(services, draft.path()).map_err(|e| explain(message(), &e))?;
    let record = KernelRecord {
        name: name.clone(),
        source,
        distro: manifest.distro,
        own_initrd: false,
        of_image: None,
        version: manifest.version,
        arch: manifest.arch,
        sha256: hexadecimal(&Sha256::of(&vmlinux).0),
        boot_modules: manifest.boot_modules,
        created: crate::store::now(),
    };
    let published = draft
        .seal(services, &record)
        .and_then(|()| draft.publish(services, &Window::open(), &record, |_| force));
    published.map_err(|e| explain(message(), &e))
}
