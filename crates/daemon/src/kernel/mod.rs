//! Kernels: a folder each, with what a VM boots.

mod unbundle;

pub(crate) use unbundle::unbundle;

use crate::Services;
use crate::artefact::{
    Draft, Window, absent, build, discard, disk_usage, explain, forget, hexadecimal, remove,
};
use crate::operation::{Ended, Handle};
use crate::store::{ImageRecord, KernelRecord, StoreError};
use banger_image::{Watch, kernel};
use banger_protocol::daemon_api::kernel::{Deleted, Ingest, KernelView};
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

pub(crate) const KERNEL: &str = kernel::VMLINUX;
pub(crate) const MODULES: &str = kernel::MODULES;
/// The first program and the modules it needs; made anew when the agent is another than when it was made.
pub(crate) const INITRD: &str = "initrd.img";

/// Why there is no agent to put into guests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the guest agent {path} cannot be read")]
    Read { path: String, source: io::Error },
    #[error(
        "the guest agent {path} is dynamically linked, which does not work in an initrd: build it with `cargo xtask build`"
    )]
    NotStatic { path: String },
}

/// The guest agent's program.
pub(crate) fn agent(services: &Services) -> Result<Vec<u8>, AgentError> {
    read_agent(&services.agent)
}

/// The program at this place, which must be one that runs before there is anything else.
pub(crate) fn read_agent(at: &Path) -> Result<Vec<u8>, AgentError> {
    let path = || at.display().to_string();
    let agent = std::fs::read(at).map_err(|source| AgentError::Read { path: path(), source })?;
    if names_a_loader(&agent) { Err(AgentError::NotStatic { path: path() }) } else { Ok(agent) }
}

/// Whether an ELF file has a program header of type `PT_INTERP` (elf(5)).
fn names_a_loader(elf: &[u8]) -> bool {
    const PT_INTERP: usize = 3;
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at + length)?;
        bytes
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let header = |index: usize| number(number(32, 8)? + index * number(54, 2)?, 4);
    (0..number(56, 2).unwrap_or(0)).any(|index| header(index) == Some(PT_INTERP))
}

pub(crate) fn list(services: &Services) -> Result<Vec<KernelView>, RpcError> {
    let all: Vec<KernelRecord> = services.store.all()?;
    Ok(all.into_iter().map(|kernel| view(services, kernel)).collect())
}

pub(crate) fn show(services: &Services, name: &KernelName) -> Result<KernelView, RpcError> {
    let found = services.store.find(name.as_str())?;
    found
        .map(|kernel| view(services, kernel))
        .ok_or_else(|| absent::<KernelRecord>(&services.state.kernels(), name.as_str()))
}

fn view(services: &Services, kernel: KernelRecord) -> KernelView {
    KernelView {
        disk_usage: disk_usage(&services.state.kernels().join(kernel.name.as_str())),
        name: kernel.name,
        source: kernel.source,
        distro: kernel.distro,
        own_initrd: kernel.own_initrd,
        of_image: kernel.of_image,
        version: kernel.version,
        arch: kernel.arch,
        sha256: kernel.sha256,
        created: kernel.created,
    }
}

/// What a kernel entry is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// `boot/vmlinuz-*` and `lib/modules/*`.
    pub archive: File,
    /// Used instead of banger's.
    pub initrd: Option<File>,
}

impl Parts {
    /// The files that came with a request.
    pub(crate) fn of_request(own_initrd: bool, mut files: Vec<File>) -> Result<Self, RpcError> {
        let wanted = 1 + usize::from(own_initrd);
        if files.len() != wanted {
            let message = format!("the request announces {wanted} descriptors and carries {}", files.len());
            return Err(RpcError::new(ErrorKind::BadRequest, message));
        }
        let initrd = if own_initrd { files.pop() } else { None };
        Ok(Self { archive: files.remove(0), initrd })
    }
}

/// What is said about a kernel entry.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub name: KernelName,
    pub source: String,
    pub distro: Option<String>,
    pub of_image: Option<ImageName>,
}

/// Makes a kernel entry of a package's files, as an operation.
pub(crate) async fn ingest(
    services: &Arc<Services>,
    request: Ingest,
    parts: Parts,
    handle: &Handle,
) -> Result<KernelView, Ended> {
    let Ingest { name, source, distro, force, own_initrd: _ } = request;
    if !force && show(services, &name).is_ok() {
        let error = RpcError::new(ErrorKind::AlreadyExists, format!("kernel `{name}` already exists"))
            .with_hint("use `--force` to replace it");
        return Err(error.into());
    }
    handle.stage("unpack the kernel");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    let about = About { name: name.clone(), source, distro, of_image: None };
    build(handle, move |watch| {
        let (draft, record) = make(&builder, about, &parts, &handle_for_build, watch)?;
        let published = draft.publish(&builder, &Window::open(), &record, |_| force);
        published.map_err(|e| explain(not_made(&record.name), &e))
    })
    .await?;
    tracing::info!(kernel = %name, "published");
    Ok(show(services, &name)?)
}

fn not_made(name: &KernelName) -> String {
    format!("the kernel `{name}` was not created")
}

/// Makes everything of a kernel entry but its name.
pub(crate) fn make(
    services: &Services,
    about: About,
    parts: &Parts,
    handle: &Handle,
    watch: Watch<'_>,
) -> Result<(Draft, KernelRecord), RpcError> {
    let About { name, source, distro, of_image } = about;
    let message = || not_made(&name);
    let draft =
        Draft::begin(services, &services.state.kernels(), handle).map_err(|e| explain(message(), &e))?;
    let facts =
        kernel::import_tar(&parts.archive, draft.path(), watch).map_err(|e| explain(message(), &e))?;
    if parts.initrd.is_none() {
        for missing in &facts.missing {
            handle.warn(format!("the kernel has no {missing}: guests may not boot"));
        }
    }
    let initrd = match &parts.initrd {
        Some(initrd) => copy_initrd(initrd, draft.path()),
        None => write_initrd(services, draft.path()),
    };
    initrd.map_err(|e| explain(message(), &e))?;
    let record = KernelRecord {
        name: name.clone(),
        source,
        distro,
        own_initrd: parts.initrd.is_some(),
        of_image,
        version: facts.version,
        arch: facts.arch.to_owned(),
        sha256: hexadecimal(&facts.vmlinux.0),
        boot_modules: facts.boot_modules,
        created: crate::store::now(),
    };
    draft.seal(services, &record).map_err(|e| explain(message(), &e))?;
    Ok((draft, record))
}

/// Takes over an initrd that came with a kernel.
fn copy_initrd(initrd: &File, folder: &Path) -> Result<(), InitrdError> {
    let path = folder.join(INITRD);
    let failed = |source| InitrdError::File { path: path.display().to_string(), action: "written", source };
    let mut from = initrd;
    let mut to = File::create_new(&path).map_err(failed)?;
    from.seek(io::SeekFrom::Start(0)).and_then(|_| io::copy(&mut from, &mut to)).map(drop).map_err(failed)
}

/// Why a kernel has no initrd.
#[derive(Debug, thiserror::Error)]
enum InitrdError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("{path} could not be {action}")]
    File { path: String, action: &'static str, source: io::Error },
}

/// Writes a kernel's initrd with the present agent, unless it has it already.
fn write_initrd(services: &Services, folder: &std::path::Path) -> Result<(), InitrdError> {
    let agent = agent(services)?;
    let failed = |path: &std::path::Path, action| {
        let path = path.display().to_string();
        move |source| InitrdError::File { path, action, source }
    };
    let modules = folder.join(kernel::BOOT_MODULES);
    let modules = std::fs::read(&modules).map_err(failed(&modules, "read"))?;
    let initrd = kernel::initrd(&modules, &agent);
    let path = folder.join(INITRD);
    if std::fs::read(&path).is_ok_and(|present| present == initrd) {
        return Ok(());
    }
    let partial = folder.join("initrd.partial");
    std::fs::write(&partial, initrd)
        .and_then(|()| std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&partial, &path))
        .map_err(failed(&path, "written"))
}

/// Gives every kernel the agent that belongs to this daemon. Called at start: an upgrade brings a new one.
pub(crate) fn refresh_initrds(services: &Services) {
    let kernels: Vec<KernelRecord> = services.store.all().unwrap_or_default();
    for kernel in kernels.into_iter().filter(|kernel| !kernel.own_initrd) {
        let folder = services.state.kernels().join(kernel.name.as_str());
        if let Err(error) = write_initrd(services, &folder) {
            tracing::error!(kernel = %kernel.name, ?error, "the initrd was not refreshed");
        }
    }
}

pub(crate) fn delete(services: &Services, name: KernelName) -> Result<Deleted, RpcError> {
    let images: Vec<ImageRecord> = services.store.all()?;
    if let Some(image) = images.iter().find(|image| image.kernel == name) {
        let message = format!("the kernel `{name}` was not deleted: it is in use by image `{}`", image.name);
        return Err(RpcError::new(ErrorKind::Refused, message)
            .with_hint(format!("delete the image first: `banger image delete {}`", image.name)));
    }
    remove::<KernelRecord>(services, &services.state.kernels(), name.as_str())?;
    Ok(Deleted { kernel: name })
}

/// Removes kernels that came with images which are gone, or have another one by now. One that a VM still starts with
/// stays until somebody removes it.
pub(crate) fn remove_orphans(services: &Services) {
    let kernels = services.state.kernels();
    let doomed: Vec<_> = {
        let window = Window::open();
        let orphans = orphans(services).unwrap_or_default();
        orphans
            .iter()
            .filter_map(|name| forget::<KernelRecord>(services, &window, &kernels, name.as_str()).ok())
            .collect()
    };
    for folder in doomed {
        if let Err(error) = discard(&services.faults, &folder) {
            tracing::error!(?error, "a kernel whose image is gone was not removed");
        }
    }
}

fn orphans(services: &Services) -> Result<Vec<KernelName>, StoreError> {
    let images: Vec<ImageRecord> = services.store.all()?;
    let kernels: Vec<KernelRecord> = services.store.all()?;
    let is_wanted = |kernel: &KernelRecord| images.iter().any(|image| image.kernel == kernel.name);
    let orphans = kernels.into_iter().filter(|kernel| kernel.of_image.is_some() && !is_wanted(kernel));
    Ok(orphans.map(|kernel| kernel.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_dynamic_loader_is_told_from_one_without() {
        // This test's own program is linked dynamically.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(names_a_loader(&own));
        let mut without = own[..64].to_vec();
        without[56..58].fill(0);
        assert!(!names_a_loader(&without));
        for length in [0, 10, 40, 64] {
            assert!(!names_a_loader(&own[..length]));
        }
    }
}
