//! Blobs from registries, kept by digest: `sha256/<digits>`, and `sha256/<digits>.partial` while one is coming.
//!
//! ```text
//!            lock, append           hash is right: rename
//!  nothing ───────────────► partial ──────────────────────► whole ──► handed out, locked by its readers
//!                              ▲ │ cut off: stays                         │
//!                              └─┘ continued by whoever comes next        └─ prune: only what nobody has locked
//! ```
//!
//! A lock is a `flock` on the very file, so it ends with whoever holds it however they end, and travels with the
//! descriptor to whoever is given that. A name is never trusted to be the file that was locked: whoever locks looks
//! again whether the file still has a name.

use banger_protocol::digest::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::Digest as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PARTIAL: &str = ".partial";

/// Something in the cache could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{} in the cache cannot be {action}", path.display())]
pub struct CacheError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// The folder of all blobs.
#[derive(Clone, Debug)]
pub struct BlobCache {
    folder: PathBuf,
}

/// A blob that is not all there. Nobody else has it while this lives.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    whole: PathBuf,
    hasher: sha2::Sha256,
    length: u64,
}

/// What pruning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub blobs: u64,
    pub bytes: u64,
    /// Kept, because somebody works with them.
    pub in_use: u64,
}

impl BlobCache {
    /// The cache in banger's cache folder; nothing is made yet.
    #[must_use]
    pub fn in_folder(cache: &Path) -> Self {
        Self { folder: cache.join("blobs/sha256") }
    }

    /// A blob that is there as a whole. It is not pruned while the file is open.
    ///
    /// Its content was compared with its digest when it came; whoever unpacks it compares again.
    pub(crate) fn open(&self, digest: Digest, size: u64) -> Result<Option<File>, CacheError> {
        let path = self.folder.join(digest.hex());
        let failed = |source| CacheError { path: path.clone(), action: "opened", source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let locked = lock(&file, FlockOperation::NonBlockingLockShared).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        // One that is being pruned right now is as good as gone.
        if !locked || about.nlink() == 0 {
            return Ok(None);
        }
        if about.len() != size {
            std::fs::remove_file(&path).map_err(failed)?;
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// What there is of a blob, to be continued; none while somebody else is at it.
    pub(crate) fn partial(&self, digest: Digest, size: u64) -> Result<Option<Partial>, CacheError> {
        let whole = self.folder.join(digest.hex());
        let path = self.folder.join(format!("{}{PARTIAL}", digest.hex()));
        let failed = |source| CacheError { path: path.clone(), action: "written", source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(failed)?;
        if !lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
            return Ok(None);
        }
        // It was renamed or pruned between opening and locking.
        if file.metadata().map_err(failed)?.ino() != std::fs::metadata(&path).map_or(0, |about| about.ino()) {
            return Ok(None);
        }
        let mut partial = Partial { file, path, whole, hasher: sha2::Sha256::new(), length: 0 };
        partial.read_what_is_there(size).map_err(|source| partial.failed("read", source))?;
        Ok(Some(partial))
    }

    /// Removes everything that nobody works with.
    ///
    /// # Errors
    /// When something cannot be looked at or removed.
    pub fn prune(&self, dry_run: bool) -> Result<Pruned, CacheError> {
        let mut pruned = Pruned::default();
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pruned),
            Err(source) => return Err(CacheError { path: self.folder.clone(), action: "listed", source }),
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if !is_ours(&path) {
                continue;
            }
            let failed = |source| CacheError { path: path.clone(), action: "removed", source };
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if !lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
                pruned.in_use += 1;
                continue;
            }
            let about = file.metadata().map_err(failed)?;
            // A partial one that became whole meanwhile is another file now.
            if about.nlink() == 0 || std::fs::metadata(&path).map_or(0, |now| now.ino()) != about.ino() {
                continue;
            }
            pruned.blobs += 1;
            pruned.bytes += about.blocks() * 512;
            if !dry_run {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(pruned)
    }
}

/// Only what this module made is ever removed.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Digest::from_hex(name.strip_suffix(PARTIAL).unwrap_or(name)).is_some()
        && path.symlink_metadata().is_ok_and(|about| about.is_file())
}

/// False when somebody else has it.
fn lock(file: &File, how: FlockOperation) -> io::Result<bool> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

impl Partial {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Adds to its end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.file.write_all(bytes).map_err(|source| self.failed("written", source))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) -> Result<(), CacheError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| self.failed("emptied", source))?;
        self.hasher = sha2::Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// What everything up to now hashes to.
    pub(crate) fn digest(&self) -> Digest {
        Digest::new(self.hasher.clone().finalize().into())
    }

    /// Gives it its name. The caller made sure of its digest.
    pub(crate) fn publish(self) -> Result<File, CacheError> {
        // It was not synced: should a crash lose its end, its length tells.
        std::fs::rename(&self.path, &self.whole).map_err(|source| self.failed("published", source))?;
        lock(&self.file, FlockOperation::NonBlockingLockShared)
            .map_err(|source| self.failed("locked", source))?;
        // Read-only, and a description of its own: this one is passed on.
        let reopened = File::open(&self.whole).map_err(|source| self.failed("opened", source))?;
        lock(&reopened, FlockOperation::NonBlockingLockShared)
            .map_err(|source| self.failed("locked", source))?;
        Ok(reopened)
    }

    /// Everything up to now, from its beginning.
    pub(crate) fn read(&self) -> Result<impl Read + use<>, CacheError> {
        let file = File::open(&self.path).map_err(|source| self.failed("opened", source))?;
        Ok(file.take(self.length))
    }

    /// Takes it out of the cache, for the caller alone. The caller made sure of its digest.
    pub(crate) fn take_out(mut self) -> Result<File, CacheError> {
        self.file.rewind().map_err(|source| self.failed("read", source))?;
        std::fs::remove_file(&self.path).map_err(|source| self.failed("removed", source))?;
        Ok(self.file)
    }

    /// Removes it: what came was not what was promised.
    pub(crate) fn discard(self) -> Result<(), CacheError> {
        std::fs::remove_file(&self.path).map_err(|source| self.failed("removed", source))
    }

    fn read_what_is_there(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            self.file.set_len(0)?;
        }
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..read]);
            self.length += read as u64;
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> CacheError {
        CacheError { path: self.path.clone(), action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::hash;

    const BLOB: &[u8] = b"the bytes of a layer";

    fn cache() -> (tempfile::TempDir, BlobCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = BlobCache::in_folder(folder.path());
        (folder, cache)
    }

    fn size() -> u64 {
        BLOB.len() as u64
    }

    fn filled(cache: &BlobCache) -> File {
        let mut partial = cache.partial(hash(BLOB), size()).unwrap().unwrap();
        partial.append(BLOB).unwrap();
        assert_eq!(partial.digest(), hash(BLOB));
        partial.publish().unwrap()
    }

    #[test]
    fn what_was_cut_off_is_continued_with_its_hash() {
        let (_folder, cache) = cache();
        let mut partial = cache.partial(hash(BLOB), size()).unwrap().unwrap();
        partial.append(&BLOB[..5]).unwrap();
        drop(partial);
        assert!(cache.open(hash(BLOB), size()).unwrap().is_none());
        let mut partial = cache.partial(hash(BLOB), size()).unwrap().unwrap();
        assert_eq!(partial.length(), 5);
        partial.append(&BLOB[5..]).unwrap();
        assert_eq!(partial.digest(), hash(BLOB));
        drop(partial.publish().unwrap());
        let mut whole = Vec::new();
        cache.open(hash(BLOB), size()).unwrap().unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole, BLOB);
    }

    #[test]
    fn one_at_a_time_fills_a_blob() {
        let (_folder, cache) = cache();
        let first = cache.partial(hash(BLOB), size()).unwrap().unwrap();
        assert!(cache.partial(hash(BLOB), size()).unwrap().is_none());
        drop(first);
        assert!(cache.partial(hash(BLOB), size()).unwrap().is_some());
    }

    #[test]
    fn what_somebody_works_with_is_not_pruned() {
        let (_folder, cache) = cache();
        let file = filled(&cache);
        let partial = cache.partial(hash(b"other"), 5).unwrap().unwrap();
        assert_eq!(cache.prune(false).unwrap(), Pruned { in_use: 2, ..Pruned::default() });
        drop((file, partial));
        let dry = cache.prune(true).unwrap();
        assert_eq!((dry.blobs, dry.in_use), (2, 0));
        assert_eq!(cache.prune(false).unwrap(), dry);
        assert_eq!(cache.prune(false).unwrap(), Pruned::default());
        assert!(cache.open(hash(BLOB), size()).unwrap().is_none());
    }

    #[test]
    fn a_file_of_somebody_elses_is_neither_used_nor_removed() {
        let (folder, cache) = cache();
        drop(filled(&cache));
        let other = folder.path().join("blobs/sha256/notes.txt");
        std::fs::write(&other, "mine").unwrap();
        cache.prune(false).unwrap();
        assert!(other.exists());
    }

    #[test]
    fn a_blob_that_lost_its_end_is_fetched_again() {
        let (folder, cache) = cache();
        drop(filled(&cache));
        let path = folder.path().join("blobs/sha256").join(hash(BLOB).hex());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert!(cache.open(hash(BLOB), size()).unwrap().is_none());
        assert!(!path.exists());
    }

    #[test]
    fn more_than_a_blob_can_have_is_not_continued() {
        let (_folder, cache) = cache();
        let mut partial = cache.partial(hash(BLOB), size()).unwrap().unwrap();
        partial.append(&[0; 100]).unwrap();
        drop(partial);
        assert_eq!(cache.partial(hash(BLOB), size()).unwrap().unwrap().length(), 0);
    }
}
