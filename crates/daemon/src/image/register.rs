//! Making known a root file system that stays where it is.

use super::{AGENT_IN_GUEST, WORK_SEED, show};
use crate::Services;
use crate::artefact::{Draft, PublishError, Window, build, explain};
use crate::kernel::{self, About, Parts};
use crate::operation::{Ended, Handle};
use crate::store::{ImageRecord, KernelRecord, Registered};
use banger_image::{Watch, rootfs};
use banger_protocol::daemon_api::image::{ImageView, Register};
use banger_protocol::image_config::ImageConfig;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a request for registering comes to. Pure but for looking whether the files are there.
#[derive(Debug)]
pub(crate) struct Checked {
    name: ImageName,
    registered: Registered,
    kernel: KernelName,
    /// What becomes the image's own kernel.
    own: Option<Parts>,
    no_agent: bool,
}

/// Refuses what cannot be registered, in the words of the command line.
pub(crate) fn check(request: Register, files: Vec<File>) -> Result<Checked, RpcError> {
    let Register { name, rootfs, work_seed, kernel_ref, own_initrd, no_agent } = request;
    let rootfs = existing("--rootfs", rootfs)?;
    let work_seed = match work_seed {
        Some(given) => Some(existing("--work-seed", given)?),
        None => Some(rootfs.with_file_name(WORK_SEED)).filter(|beside| beside.is_file()),
    };
    let (kernel, own) = match kernel_ref {
        Some(_) if own_initrd || !files.is_empty() => {
            let message = "an image has either a kernel reference or a kernel file, not both";
            return Err(RpcError::new(ErrorKind::BadRequest, message));
        }
        Some(kernel) => (kernel, None),
        None => (kernel_of(&name)?, Some(Parts::of_request(own_initrd, files)?)),
    };
    Ok(Checked { registered: Registered { rootfs, work_seed }, name, kernel, own, no_agent })
}

fn existing(flag: &str, path: String) -> Result<PathBuf, RpcError> {
    let bad = |what: &str| Err(RpcError::new(ErrorKind::BadRequest, format!("{flag}: {path} {what}")));
    let file = Path::new(&path);
    if !file.is_absolute() {
        return bad("is not an absolute path");
    }
    match std::fs::metadata(file) {
        Ok(about) if about.is_file() => Ok(file.to_owned()),
        Ok(_) => bad("is not a regular file"),
        Err(error) => bad(&format!("cannot be used: {error}")),
    }
}

/// Both kinds of names obey one rule.
fn kernel_of(image: &ImageName) -> Result<KernelName, RpcError> {
    image.as_str().parse().map_err(|error| RpcError::new(ErrorKind::BadRequest, format!("{error}")))
}

/// Registers an image, as an operation; updates one that is registered already.
pub(crate) async fn register(
    services: &Arc<Services>,
    checked: Checked,
    handle: &Handle,
) -> Result<ImageView, Ended> {
    let name = checked.name.clone();
    refuse_what_is_there(services, &checked)?;
    handle.stage("look into the files");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    build(handle, move |watch| make(&builder, &checked, &handle_for_build, watch)).await?;
    kernel::remove_orphans(services);
    tracing::info!(image = %name, "registered");
    Ok(show(services, &name)?)
}

fn refuse_what_is_there(services: &Services, wanted: &Checked) -> Result<(), RpcError> {
    let name = &wanted.name;
    match services.store.find::<ImageRecord>(name.as_str())? {
        Some(ImageRecord { registered: None, .. }) => return Err(is_managed(name)),
        // What a guest changed is recorded as differences to the file it was started from.
        Some(ImageRecord { registered: Some(present), .. }) if present.rootfs != wanted.registered.rootfs => {
            let (users, _) = services.store.vms()?;
            if let Some(user) = users.iter().find(|vm| vm.image == *name) {
                let message = format!(
                    "the image `{name}` was not given another root file system: VM `{}` was started from {}",
                    user.name,
                    present.rootfs.display()
                );
                let hint = format!("delete the VM first: `banger vm delete {}`", user.name);
                return Err(RpcError::new(ErrorKind::Refused, message).with_hint(hint));
            }
        }
        Some(_) => {}
        None => match show(services, name) {
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        },
    }
    if wanted.own.is_some()
        && let Some(kernel) = services.store.find::<KernelRecord>(wanted.kernel.as_str())?
        && kernel.of_image.as_ref() != Some(name)
    {
        let message =
            format!("the image `{name}` cannot bring its own kernel: a kernel of that name already exists");
        let hint = format!("use it with `--kernel-ref {}`, or choose another `--name`", kernel.name);
        return Err(RpcError::new(ErrorKind::AlreadyExists, message).with_hint(hint));
    }
    Ok(())
}

fn is_managed(name: &ImageName) -> RpcError {
    let message = format!("the image `{name}` is in banger's storage and cannot be replaced by registering");
    RpcError::new(ErrorKind::AlreadyExists, message)
        .with_hint(format!("choose another `--name`, or delete it: `banger image delete {name}`"))
}

fn make(services: &Services, wanted: &Checked, handle: &Handle, watch: Watch<'_>) -> Result<(), RpcError> {
    let Checked { name, registered, kernel, own, no_agent } = wanted;
    let message = || format!("the image `{name}` was not registered");
    let found = rootfs::inspect(&registered.rootfs, AGENT_IN_GUEST).map_err(|e| explain(message(), &e))?;
    if let Some(seed) = &registered.work_seed {
        rootfs::inspect(seed, AGENT_IN_GUEST).map_err(|e| explain(message(), &e))?;
    }
    let draft =
        Draft::begin(services, &services.state.images(), handle).map_err(|e| explain(message(), &e))?;
    if registered.work_seed.is_none() {
        handle.stage("make the seed of work disks");
        make_seed(services, &registered.rootfs, &draft, watch).map_err(|e| explain(message(), &e))?;
    }
    let own = match own {
        None => None,
        Some(parts) => {
            handle.stage("take over the kernel");
            let about = About {
                name: kernel.clone(),
                source: format!("registered with the image {name}"),
                distro: None,
                of_image: Some(name.clone()),
            };
            Some(kernel::make(services, about, parts, handle, watch)?)
        }
    };
    let record = ImageRecord {
        name: name.clone(),
        source: format!("registered from {}", registered.rootfs.display()),
        kernel: kernel.clone(),
        digest: None,
        entries: None,
        has_init: found.init.is_some(),
        has_sshd: found.sshd,
        has_agent: found.agent,
        no_agent: *no_agent,
        registered: Some(registered.clone()),
        created: crate::store::now(),
        config: ImageConfig::default(),
    };
    let brings_its_initrd = match &own {
        Some((_, kernel)) => kernel.own_initrd,
        None => services.store.find::<KernelRecord>(kernel.as_str())?.is_some_and(|kernel| kernel.own_initrd),
    };
    if brings_its_initrd && !found.agent && !no_agent {
        return Err(no_agent_inside(message()));
    }
    draft.seal(services, &record).map_err(|e| explain(message(), &e))?;

    let window = Window::open();
    if let Some((draft, kernel)) = own {
        let replaces = |present: &KernelRecord| present.of_image.as_ref() == Some(name);
        draft.publish(services, &window, &kernel, replaces).map_err(|e| not_published(message(), &e))?;
    }
    let replaces = |present: &ImageRecord| present.registered.is_some();
    draft.publish(services, &window, &record, replaces).map_err(|e| not_published(message(), &e))
}

/// The seed of an image that came with none, in its folder.
pub(super) fn make_seed(
    services: &Services,
    rootfs: &Path,
    draft: &Draft,
    watch: Watch<'_>,
) -> Result<(), MakeSeedError> {
    let size = rootfs::Options::default().work_size;
    services.faults.around(|| Ok(rootfs::seed_of(rootfs, size, draft.path(), watch)?))
}

/// A seed that was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeSeedError {
    #[error("the seed of its work disks was not made of what it has in /root")]
    Seed(#[from] rootfs::SeedError),
    #[error(transparent)]
    Planted(#[from] crate::vm::Planted),
}

fn not_published(message: String, error: &PublishError) -> RpcError {
    match error {
        PublishError::NameTaken(_) => RpcError { kind: ErrorKind::AlreadyExists, ..explain(message, error) },
        _ => explain(message, error),
    }
}

/// Why an image cannot start with a kernel that brings an initrd of its own.
pub(crate) fn no_agent_inside(message: String) -> RpcError {
    let reason =
        format!("its kernel has its own initrd, and the image has no guest agent at /{AGENT_IN_GUEST}");
    RpcError { causes: vec![reason], ..RpcError::new(ErrorKind::Refused, message) }
        .with_hint("images built by banger contain the agent; `--no-agent` allows an image without it, in which banger cannot run commands")
}
