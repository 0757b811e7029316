//! What a VM needs is there, or is made: from the catalog, or of what others published.

use super::Builder;
use super::lock::BuildLock;
use super::published::{Published, Wish};
use crate::catalog::Catalog;
use crate::daemon::Daemon;
use crate::failure::Failure;
use banger_config::probably_meant;
use banger_oci::{Platform, Reference};
use banger_protocol::daemon_api::image::{ImageView, List as ListImages, Show as ShowImage};
use banger_protocol::daemon_api::kernel::{KernelView, Show as ShowKernel};
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::wire::{ConnectionError, ErrorKind, RpcError};

/// The image and the kernel its VM will start with, both there when this returns. Without `kernel` it is the
/// image's own.
pub(crate) fn image(
    builder: &Builder<'_>,
    daemon: &mut Daemon,
    wish: &Wish,
    kernel: Option<&KernelName>,
) -> Result<ImageView, Failure> {
    match wish {
        Wish::Named(name) => named(builder, daemon, name, kernel),
        Wish::Published(reference) => published(builder, daemon, reference, kernel),
    }
}

fn named(
    builder: &Builder<'_>,
    daemon: &mut Daemon,
    name: &ImageName,
    kernel: Option<&KernelName>,
) -> Result<ImageView, Failure> {
    if let Some(found) = show_image(daemon, name)? {
        self::kernel(builder, daemon, kernel.unwrap_or(&found.kernel))?;
        return Ok(found);
    }
    let catalog = Catalog::load(builder.paths)?;
    let Some(entry) = catalog.image(name.as_str()) else {
        let known = known_images(daemon, &catalog)?;
        let here = "`banger image list` lists the images on this host";
        let hint = match probably_meant(name.as_str(), known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`? {here}"),
            None => {
                format!("known images: {}; {here}; for Docker Hub, write `{name}:latest`", known.join(", "))
            }
        };
        return Err(Failure::message(format!("image `{name}` not found")).with_hint(hint));
    };
    self::kernel(builder, daemon, &entry.kernel)?;
    if let Some(kernel) = kernel.filter(|&kernel| *kernel != entry.kernel) {
        self::kernel(builder, daemon, kernel)?;
    }
    let is_it = |_: &ImageView| true;
    once(builder, daemon, name, is_it, |daemon| builder.image(daemon, entry, name, &entry.kernel, None))
}

/// An image that is somewhere else, under the name that its reference gives it.
fn published(
    builder: &Builder<'_>,
    daemon: &mut Daemon,
    reference: &Reference,
    kernel: Option<&KernelName>,
) -> Result<ImageView, Failure> {
    // What a registry has under a tag changes; as with docker, what was once made of it is meant.
    if let Reference::Registry(_) = reference
        && let Ok(name) = reference.default_name(None).parse()
        && let Some(found) = show_image(daemon, &name)?
        && is_from(&found, reference)
    {
        self::kernel(builder, daemon, kernel.unwrap_or(&found.kernel))?;
        return Ok(found);
    }
    let published = Published::find(builder, reference, &Platform::of_guests())?;
    let name = &published.name;
    if let Some(found) = show_image(daemon, name)? {
        if !published.is(&found) {
            return Err(taken(&found).with_hint(format!(
                "`banger image pull {reference} --name NAME` pulls it under another name"
            )));
        }
        self::kernel(builder, daemon, kernel.unwrap_or(&found.kernel))?;
        return Ok(found);
    }
    let own = kernel.unwrap_or(&builder.config.default_kernel.value);
    self::kernel(builder, daemon, own)?;
    let is_it = |image: &ImageView| published.is(image);
    once(builder, daemon, name, is_it, |daemon| published.make(builder, daemon, name, own, None))
}

/// Whether an image was made of what a reference leads to, now or at another time.
fn is_from(image: &ImageView, reference: &Reference) -> bool {
    let digest = image.source.strip_prefix(&reference.to_string());
    digest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// Makes an image while nobody else of this user makes one of that name. Whoever had to wait gets what the other
/// made, if `is_it` finds that this is what was wanted.
pub(crate) fn once(
    builder: &Builder<'_>,
    daemon: &mut Daemon,
    name: &ImageName,
    is_it: impl Fn(&ImageView) -> bool,
    make: impl FnOnce(&mut Daemon) -> Result<ImageView, Failure>,
) -> Result<ImageView, Failure> {
    let waiting = || builder.progress.stage("waiting for another banger that is building it");
    let _one_at_a_time = BuildLock::take(builder.paths, &format!("image-{name}"), waiting)
        .map_err(|error| Failure::of(&error))?;
    match show_image(daemon, name)? {
        Some(found) if is_it(&found) => Ok(found),
        Some(found) => Err(taken(&found)),
        None => make(daemon),
    }
}

fn taken(image: &ImageView) -> Failure {
    let ImageView { name, source, .. } = image;
    Failure::message(format!("image `{name}` already exists, made from {source}"))
        .with_hint(format!("delete it with `banger image delete {name}`"))
}

/// The kernel, there when this returns.
pub(crate) fn kernel(
    builder: &Builder<'_>,
    daemon: &mut Daemon,
    name: &KernelName,
) -> Result<KernelView, Failure> {
    if let Some(found) = show_kernel(daemon, name)? {
        return Ok(found);
    }
    let catalog = Catalog::load(builder.paths)?;
    let unknown = || {
        let offered = catalog.kernels.iter().map(|entry| entry.name.as_str());
        let hint = "`banger kernel list --available` lists the catalog";
        let hint = match probably_meant(name.as_str(), offered) {
            Some(meant) => format!("did you mean `{meant}`? {hint}"),
            None => hint.to_owned(),
        };
        Failure::message(format!("kernel `{name}` not found")).with_hint(hint)
    };
    let entry = catalog.kernel(name.as_str()).ok_or_else(unknown)?;
    let waiting = || builder.progress.stage("waiting for another banger that is building its kernel");
    let _one_at_a_time = BuildLock::take(builder.paths, &format!("kernel-{name}"), waiting)
        .map_err(|error| Failure::of(&error))?;
    if let Some(found) = show_kernel(daemon, name)? {
        return Ok(found);
    }
    builder.kernel(daemon, entry, false)
}

fn show_image(daemon: &mut Daemon, name: &ImageName) -> Result<Option<ImageView>, Failure> {
    found(daemon.call(&ShowImage { image: name.clone() }))
}

fn show_kernel(daemon: &mut Daemon, name: &KernelName) -> Result<Option<KernelView>, Failure> {
    found(daemon.call(&ShowKernel { kernel: name.clone() }))
}

fn found<T>(answer: Result<T, ConnectionError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(view) => Ok(Some(view)),
        Err(ConnectionError::Refused(RpcError { kind: ErrorKind::NotFound, .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is here, then what can be made.
fn known_images(daemon: &mut Daemon, catalog: &Catalog) -> Result<Vec<String>, Failure> {
    let here = daemon.call(&ListImages {})?;
    let mut names: Vec<_> = here.into_iter().map(|image| image.name.to_string()).collect();
    let made = catalog.images.iter().map(|entry| entry.name.to_string());
    let missing: Vec<_> = made.filter(|name| !names.contains(name)).collect();
    names.extend(missing);
    Ok(names)
}
