//! A copy of a disk image that costs as little as the file system allows.
//!
//! A reflink where the file system has it: constant time, blocks shared until written. Otherwise the data extents
//! are copied and the holes stay holes.

use rustix::fs::{Mode, OFlags, SeekFrom, copy_file_range, fdatasync, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A copy that was not made; nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[error("{from} could not be copied to {to}")]
pub(crate) struct CloneError {
    from: String,
    to: String,
    source: io::Error,
}

impl CloneError {
    pub(crate) fn hint(&self) -> Option<String> {
        hint_for(&self.source)
    }
}

/// What can be done about the errors that every write can meet.
pub(crate) fn hint_for(error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "free some space on that disk: `banger vm list` and `banger image list` show what can be deleted"
                .to_owned(),
        ),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("make the state directory writable, or set XDG_STATE_HOME to a writable one".to_owned())
        }
        _ => None,
    }
}

/// Whether files in this folder can share blocks.
pub(crate) fn can_reflink(folder: &Path) -> bool {
    let probe =
        |flags| rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | flags, Mode::RUSR | Mode::WUSR);
    let (Ok(from), Ok(to)) = (probe(OFlags::CLOEXEC), probe(OFlags::CLOEXEC)) else { return false };
    rustix::io::write(&from, &[0; 4096]).is_ok() && ioctl_ficlone(&to, &from).is_ok()
}

/// Copies `from` to `to`, which must not exist; it appears only when it is complete.
pub(crate) fn clone_file(from: &Path, to: &Path) -> Result<(), CloneError> {
    clone_while(from, to, &|| true)
}

/// As [`clone_file`], for copies that somebody waits for: fails as interrupted soon after they are not `wanted` any more.
pub(crate) fn clone_while(from: &Path, to: &Path, wanted: &dyn Fn() -> bool) -> Result<(), CloneError> {
    let failed =
        |source| CloneError { from: from.display().to_string(), to: to.display().to_string(), source };
    let partial = to.with_extension("partial");
    let outcome = copy(from, &partial, wanted).and_then(|()| std::fs::rename(&partial, to));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    outcome.map_err(failed)
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn() -> bool) -> io::Result<()> {
    let source = File::open(from)?;
    // What is there was cut short, or put there by somebody else: it is neither continued nor written through.
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    match ioctl_ficlone(&target, &source) {
        Ok(()) => return Ok(()),
        // What a file system without reflinks, and a target on another one, answer.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let length = source.metadata()?.len();
    ftruncate(&target, length)?;
    let mut at = 0;
    while at < length {
        let start = match seek(&source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&source, SeekFrom::Hole(start))?;
        copy_extent(&source, &target, start..end, wanted)?;
        at = end;
    }
    fdatasync(&target).map_err(Into::into)
}

/// What is copied and written out between two looks at whether it is wanted; a slow disk takes a fraction of a second.
const STRIDE: u64 = 16 << 20;

fn copy_extent(
    source: &File,
    target: &File,
    Range { start, end }: Range<u64>,
    wanted: &dyn Fn() -> bool,
) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        if !wanted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let stride = usize::try_from(STRIDE.min(end - read_at)).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), stride) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // Between file systems of two kinds the kernel does not copy (since 5.19).
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                let mut bytes = vec![0; stride];
                source.read_exact_at(&mut bytes, read_at)?;
                target.write_all_at(&bytes, write_at)?;
                read_at += bytes.len() as u64;
                write_at = read_at;
            }
            Err(errno) => return Err(errno.into()),
        }
        if read_at < end {
            // Otherwise all of it would be written out at the end, where nobody looks.
            fdatasync(target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.img"), folder.path().join("b.img"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"middle", 32 << 20).unwrap();
        clone_file(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let disk_usage = std::fs::metadata(&to).unwrap().blocks() * 512;
        assert!(disk_usage < 1 << 20, "{disk_usage} bytes on disk");
    }

    #[test]
    fn a_folder_is_asked_whether_it_shares_blocks_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let can = can_reflink(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&from, [0; 4096]).unwrap();
        let cloned = ioctl_ficlone(File::create(&to).unwrap(), File::open(&from).unwrap());
        assert_eq!(can, cloned.is_ok());
    }

    #[test]
    fn a_copy_may_lead_to_a_file_system_of_another_kind() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let (from, to) = (here.path().join("a.img"), there.path().join("b.img"));
        let bytes: Vec<u8> = (0..(17 << 20) + 5_u32).map(|number| number.to_le_bytes()[1]).collect();
        std::fs::write(&from, &bytes).unwrap();
        clone_file(&from, &to).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);
        std::fs::remove_file(&from).unwrap();
        clone_file(&to, &from).unwrap();
        assert!(std::fs::read(&from).unwrap() == bytes);
    }

    #[test]
    fn a_copy_that_nobody_wants_any_more_ends_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.img"), folder.path().join("b.img"));
        std::fs::write(&from, vec![7; 33 << 20]).unwrap();
        // The kernel would share the blocks of a reflink, and be done at once.
        let looks = std::cell::Cell::new(0);
        let wanted = || {
            looks.set(looks.get() + 1);
            looks.get() < 2
        };
        let cloned = clone_while(&from, &to, &wanted);
        if can_reflink(folder.path()) {
            cloned.unwrap();
            return;
        }
        assert_eq!(cloned.unwrap_err().source.kind(), io::ErrorKind::Interrupted);
        assert_eq!(looks.get(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_copy_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = clone_file(&folder.path().join("absent"), &folder.path().join("b.img")).unwrap_err();
        assert!(error.to_string().contains("absent"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
