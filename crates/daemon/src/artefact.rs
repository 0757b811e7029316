//! Images and kernels as folders: made under a name nobody looks at, published by a rename, mirrored by a row.
//!
//! ```text
//! images/.tmp-<operation>/   being made; whatever of this a new daemon finds is nobody's
//!        │ seal              manifest.json, and everything on the disk: slow, and under no lock
//!        │ rename            under the lock of a moment; the name is looked at again
//! images/<name>/             complete
//!        │ row               under the same
//! ```
//!
//! A crash between rename and row costs nothing: rows are made anew from the manifests at every start. A folder
//! whose manifest cannot be read is left alone and told by the doctor.

use crate::Services;
use crate::operation::{Ended, Handle};
use crate::store::{Artefact, Store, StoreError};
use crate::vm::{Faults, Planted};
use banger_image::{Progress, Watch};
use banger_protocol::ids::OperationId;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use rustix::fs::RenameFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MANIFEST: &str = "manifest.json";
const TEMPORARY: &str = ".tmp-";

/// Why a finished folder was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the name `{0}` was taken in the meantime")]
    NameTaken(String),
    #[error("{path} could not be {action}")]
    File { path: String, action: &'static str, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Planted(#[from] Planted),
}

/// A bundle whose files are there and are not described.
#[derive(Debug, thiserror::Error)]
#[error("the bundle's manifest cannot be understood")]
pub(crate) struct BundleManifestError(#[source] pub(crate) serde_json::Error);

/// The moment in which names are given and taken, one at a time: a rename and a row, nothing that waits.
#[derive(Debug)]
pub(crate) struct Window(#[expect(dead_code, reason = "held, never looked at")] MutexGuard<'static, ()>);

impl Window {
    pub(crate) fn open() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        Self(ONE.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A folder that is being filled. Dropped unpublished, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// A new empty folder inside `parent`, private to the owner.
    pub(crate) fn begin(services: &Services, parent: &Path, handle: &Handle) -> Result<Self, PublishError> {
        let path = parent.join(format!("{TEMPORARY}{}", handle.id()));
        services
            .faults
            .around(|| std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path, "made")))?;
        Ok(Self { path, published: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its manifest and has all of it written to the disk: after a crash of the host as well, what
    /// has a name is whole.
    pub(crate) fn seal<A: Artefact>(&self, services: &Services, artefact: &A) -> Result<(), PublishError> {
        services.faults.around(|| {
            let manifest = self.path.join(MANIFEST);
            let text = serde_json::to_vec_pretty(artefact).expect("a manifest serialises");
            std::fs::write(&manifest, text).map_err(failed(&manifest, "written"))?;
            let entries = std::fs::read_dir(&self.path).map_err(failed(&self.path, "read"))?;
            for entry in entries.filter_map(Result::ok) {
                // Readable for a VMM that runs as another user and gets it as a descriptor; the folder is the owner's.
                let readable = std::fs::Permissions::from_mode(0o644);
                let synced = File::open(entry.path())
                    .and_then(|file| file.set_permissions(readable).and_then(|()| file.sync_all()));
                synced.map_err(failed(&entry.path(), "written to disk"))?;
            }
            Ok(())
        })
    }

    /// Gives a sealed folder its name and its row, in that order. What has the name already is replaced if
    /// `may_replace` says so of its manifest, as it is now.
    pub(crate) fn publish<A: Artefact>(
        mut self,
        services: &Services,
        _window: &Window,
        artefact: &A,
        may_replace: impl FnOnce(&A) -> bool,
    ) -> Result<(), PublishError> {
        let name = self.path.with_file_name(artefact.name());
        let replaces = match read_manifest::<A>(&name) {
            Some(present) if may_replace(&present) => true,
            Some(_) => return Err(PublishError::NameTaken(artefact.name().to_owned())),
            None => false,
        };
        services.faults.around(|| {
            if replaces {
                // At no moment is there none: what is replaced has the draft's name afterwards and goes with it.
                return rename(&self.path, &name, RenameFlags::EXCHANGE)
                    .map_err(|errno| failed(&name, "replaced")(errno.into()));
            }
            // A folder without a manifest may be there, which is somebody's.
            rename(&self.path, &name, RenameFlags::NOREPLACE).map_err(|errno| match errno {
                rustix::io::Errno::EXIST => PublishError::NameTaken(artefact.name().to_owned()),
                errno => failed(&name, "published")(errno.into()),
            })?;
            self.published = true;
            Ok(())
        })?;
        services.faults.around(|| services.store.put(artefact).map_err(PublishError::from))
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::error!(path = %self.path.display(), %error, "an unfinished directory was not removed");
        }
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.display().to_string();
    move |source| PublishError::File { path, action, source }
}

/// What the folders say that are there.
#[derive(Debug)]
pub(crate) struct Found<A> {
    pub sound: Vec<A>,
    /// Folders whose manifests cannot be read.
    pub damaged: Vec<PathBuf>,
    /// Folders in which something was or is being made.
    drafts: Vec<PathBuf>,
}

/// Reads every manifest, and changes nothing.
pub(crate) fn look<A: Artefact>(parent: &Path) -> Found<A> {
    let mut found = Found { sound: Vec::new(), damaged: Vec::new(), drafts: Vec::new() };
    for entry in std::fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY) {
            found.drafts.push(path);
            continue;
        }
        match read_manifest::<A>(&path) {
            Some(artefact) if artefact.name() == name => found.sound.push(artefact),
            Some(_) | None => found.damaged.push(path),
        }
    }
    found.sound.sort_by(|one: &A, other| one.name().cmp(other.name()));
    found
}

/// Makes the rows anew from the folders, and removes drafts nobody is working on.
pub(crate) fn load_all<A: Artefact>(parent: &Path, store: &Store) -> Result<(), StoreError> {
    let found: Found<A> = look(parent);
    for path in &found.drafts {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::error!(path = %path.display(), %error, "an abandoned draft was not removed");
        }
    }
    for path in &found.damaged {
        tracing::warn!(path = %path.display(), "a directory without a valid manifest was set aside");
    }
    store.keep_only(&found.sound)
}

pub(crate) fn read_manifest<A: Artefact>(folder: &Path) -> Option<A> {
    serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).ok()?).ok()
}

/// Forgets and removes an artefact that no VM uses.
///
/// Its row goes first, which is the moment from which no VM can be made of it. A crash before the folder has another
/// name gives it back its row at the next start; after that, it is a draft of nobody's.
pub(crate) fn remove<A: Artefact>(services: &Services, parent: &Path, name: &str) -> Result<(), RpcError> {
    let doomed = forget::<A>(services, &Window::open(), parent, name)?;
    discard(&services.faults, &doomed)
        .map_err(|error| explain(format!("the {} `{name}` was not deleted", A::KIND), &error))
}

/// The part of [`remove`] that takes a moment. What it returns has no name any more and is to be discarded.
pub(crate) fn forget<A: Artefact>(
    services: &Services,
    _window: &Window,
    parent: &Path,
    name: &str,
) -> Result<PathBuf, RpcError> {
    let store = &services.store;
    let message = || format!("the {} `{name}` was not deleted", A::KIND);
    let planted = |error: ForgetError| explain(message(), &error);
    let Some(artefact) = store.find::<A>(name)? else { return Err(absent::<A>(parent, name)) };
    let users = services
        .faults
        .around(|| store.remove_unused::<A>(name).map_err(ForgetError::Store))
        .map_err(planted)?;
    if let Some((_, first)) = users.first() {
        let others = users.len() - 1;
        let and_more = if others == 0 { String::new() } else { format!(" and {others} more") };
        let message = format!("{}: it is in use by VM `{first}`{and_more}", message());
        return Err(RpcError::new(ErrorKind::Refused, message)
            .with_hint(format!("delete the VM first: `banger vm delete {first}`")));
    }
    let folder = parent.join(name);
    let doomed = parent.join(format!("{TEMPORARY}{}", OperationId::random()));
    let renamed = services.faults.around(|| std::fs::rename(&folder, &doomed).map_err(ForgetError::Rename));
    if let Err(error) = renamed {
        // It may have another name by now: then it is gone all the same.
        if folder.exists() {
            store.put(&artefact)?;
        }
        return Err(planted(error));
    }
    Ok(doomed)
}

/// Removes a folder that has no name any more. Of one that cannot be removed, the next daemon removes what is left.
pub(crate) fn discard(faults: &Faults, doomed: &Path) -> Result<(), PublishError> {
    faults.around(|| std::fs::remove_dir_all(doomed).map_err(failed(doomed, "removed")))
}

/// Why something is still there, row or folder.
#[derive(Debug, thiserror::Error)]
enum ForgetError {
    #[error(transparent)]
    Store(StoreError),
    #[error("its directory could not be renamed")]
    Rename(#[source] io::Error),
    #[error(transparent)]
    Planted(#[from] Planted),
}

/// Why there is none of this name: nobody made it, or its manifest is damaged.
pub(crate) fn absent<A: Artefact>(parent: &Path, name: &str) -> RpcError {
    let (kind, folder) = (A::KIND, parent.join(name));
    if folder.exists() && read_manifest::<A>(&folder).is_none() {
        let message = format!("the {kind} `{name}` was set aside: its manifest cannot be read");
        let hint = format!("remove {}, then `banger {kind} pull {name}`", folder.display());
        return RpcError::new(ErrorKind::Refused, message).with_hint(hint);
    }
    RpcError::new(ErrorKind::NotFound, format!("{kind} `{name}` not found"))
        .with_hint(format!("`banger {kind} list` lists all of them"))
}

/// What a folder takes on the disk: blocks, not lengths, since disk images are sparse.
pub(crate) fn disk_usage(folder: &Path) -> ByteSize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    ByteSize::bytes(entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum())
}

/// Runs a build where it may block, telling the operation how far it is and passing a cancel on.
pub(crate) async fn build<R, F>(handle: &Handle, work: F) -> Result<R, Ended>
where
    R: Send + 'static,
    F: FnOnce(Watch<'_>) -> Result<R, RpcError> + Send + 'static,
{
    let cancelled = Arc::new(AtomicBool::new(false));
    let (flag, progress) = (cancelled.clone(), handle.clone());
    let mut building = tokio::task::spawn_blocking(move || {
        let report = |p: Progress| progress.progress(p.done, p.total);
        work(Watch::new(&report, &flag))
    });
    let joined = tokio::select! {
        joined = &mut building => joined,
        () = handle.cancelled() => {
            cancelled.store(true, Ordering::Relaxed);
            building.await
        }
    };
    match joined {
        Ok(Err(_)) if handle.is_cancelled() => Err(Ended::Cancelled),
        Ok(outcome) => outcome.map_err(Ended::Failed),
        Err(panic) => Err(Ended::Failed(RpcError::new(ErrorKind::OperationFailed, panic.to_string()))),
    }
}

/// An error with the advice that fits its innermost cause.
pub(crate) fn explain(message: String, error: &(dyn std::error::Error + 'static)) -> RpcError {
    let mut causes = vec![error.to_string()];
    causes.extend(RpcError::from_error(ErrorKind::OperationFailed, error).causes);
    let innermost = std::iter::successors(Some(error), |e| e.source()).last();
    let hint = innermost.and_then(|e| e.downcast_ref::<io::Error>()).and_then(crate::clone::hint_for);
    RpcError { causes, hint, ..RpcError::new(ErrorKind::OperationFailed, message) }
}

/// Digests as manifests hold them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
