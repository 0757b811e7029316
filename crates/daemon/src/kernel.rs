//! Kernels: a folder each, with what a VM boots.

use crate::Services;
use crate::artefact::{Draft, absent, build, disk_usage, explain, hexadecimal, remove};
use crate::operation::{Ended, Handle};
use crate::store::{ImageRecord, KernelRecord};
use banger_image::{Watch, kernel};
use banger_protocol::daemon_api::kernel::{Deleted, Ingest, KernelView};
use banger_protocol::names::KernelName;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::io;
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
        "the guest agent {path} needs a dynamic loader, which no initrd has: `cargo xtask build` makes one that does not"
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
        version: kernel.version,
        arch: kernel.arch,
        sha256: kernel.sha256,
        created: kernel.created,
    }
}

/// Makes a kernel entry of a package's files, as an operation.
pub(crate) async fn ingest(
    services: &Arc<Services>,
    request: Ingest,
    archive: File,
    handle: &Handle,
) -> Result<KernelView, Ended> {
    let name = request.name.clone();
    if !request.force && show(services, &name).is_ok() {
        let error = RpcError::new(ErrorKind::AlreadyExists, format!("there is already a kernel `{name}`"))
            .with_hint("`banger kernel pull --force` replaces it");
        return Err(error.into());
    }
    handle.stage("unpack the kernel");
    let (builder, handle_for_build) = (services.clone(), handle.clone());
    build(handle, move |watch| make(&builder, &request, &archive, &handle_for_build, watch)).await?;
    tracing::info!(kernel = %name, "published");
    Ok(show(services, &name)?)
}

fn make(
    services: &Services,
    request: &Ingest,
    archive: &File,
    handle: &Handle,
    watch: Watch<'_>,
) -> Result<(), RpcError> {
    let message = || format!("the kernel `{}` was not made", request.name);
    let draft = Draft::begin(&services.state.kernels(), handle).map_err(|e| explain(message(), &e))?;
    let facts = kernel::import_tar(archive, draft.path(), watch).map_err(|e| explain(message(), &e))?;
    for missing in &facts.missing {
        handle.warn(format!("the kernel has no {missing}: guests may not come up"));
    }
    write_initrd(services, draft.path()).map_err(|e| explain(message(), &e))?;
    let record = KernelRecord {
        name: request.name.clone(),
        source: request.source.clone(),
        version: facts.version,
        arch: facts.arch.to_owned(),
        sha256: hexadecimal(&facts.vmlinux.0),
        boot_modules: facts.boot_modules,
        created: crate::store::now(),
    };
    draft.publish(&record, &services.store, request.force).map_err(|e| explain(message(), &e))
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
    for kernel in kernels {
        let folder = services.state.kernels().join(kernel.name.as_str());
        if let Err(error) = write_initrd(services, &folder) {
            tracing::error!(kernel = %kernel.name, ?error, "the initrd was not refreshed");
        }
    }
}

pub(crate) fn delete(services: &Services, name: KernelName) -> Result<Deleted, RpcError> {
    let images: Vec<ImageRecord> = services.store.all()?;
    if let Some(image) = images.iter().find(|image| image.kernel == name) {
        let message =
            format!("the kernel `{name}` was not removed: it is needed by the image `{}`", image.name);
        return Err(RpcError::new(ErrorKind::Refused, message)
            .with_hint(format!("delete the image first: `banger image delete {}`", image.name)));
    }
    remove::<KernelRecord>(&services.state.kernels(), name.as_str(), &services.store)?;
    Ok(Deleted { kernel: name })
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
