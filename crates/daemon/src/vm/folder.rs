//! The files in a VM's folder, for the daemon.
//!
//! A guest that took over its VMM may have put anything there: a link to a file of the owner's, a pipe that nobody
//! writes to, a log of a size that fits no memory. So no link is followed, nothing opened here can make us wait,
//! only ordinary files are read, and never more of one than was asked for.
//!
//! What a guest writes to its console grows for as long as the guest likes. Only the end of a log stays on the disk:
//! the rest becomes a hole, so that whoever appends goes on where it was and whoever reads keeps its place.

use rustix::fs::{FallocateFlags, fallocate, seek};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A hole ends with a block of the file system; no usual one has larger blocks.
const BLOCK: u64 = 64 << 10;

/// The ordinary file of this name, for reading.
pub(super) fn open(folder: &Path, name: &str) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), folder, name)
}

pub(super) fn open_to_write(folder: &Path, name: &str) -> io::Result<File> {
    open_with(OpenOptions::new().read(true).write(true), folder, name)
}

fn open_with(options: &mut OpenOptions, folder: &Path, name: &str) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(folder.join(name))?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name} in the VM's directory is not a regular file"),
    ))
}

/// How long a file is; one that is not there yet is empty.
pub(super) fn length(folder: &Path, name: &str) -> u64 {
    open(folder, name).and_then(|file| file.metadata()).map_or(0, |about| about.len())
}

/// The end of a file, at most so many bytes of it.
pub(super) fn end_of(folder: &Path, name: &str, most: u64) -> io::Result<Vec<u8>> {
    end_of_from(folder, name, 0, most)
}

/// The same, of what lies at or behind `start`.
pub(super) fn end_of_from(folder: &Path, name: &str, start: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(folder, name)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most).max(start)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives back the disk space of a log but for its end, once it takes twice that. Says whether it did.
pub(super) fn keep_only_the_end(folder: &Path, name: &str, end: u64) -> io::Result<bool> {
    let log = open_with(OpenOptions::new().write(true), folder, name)?;
    let about = log.metadata()?;
    // st_blocks counts 512 bytes each, whatever the file system's own are (inode(7)).
    if about.blocks() * 512 <= 2 * end {
        return Ok(false);
    }
    let gone = about.len().saturating_sub(end) / BLOCK * BLOCK;
    fallocate(&log, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, gone)?;
    Ok(true)
}

/// Where the first byte at or behind `offset` lies that was not given back; `None` behind the last.
pub(super) fn next_kept(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the file new, whatever was there under its name.
pub(super) fn write_anew(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_planted_link_is_neither_read_nor_written_through() {
        let place = tempfile::tempdir().unwrap();
        let (outside, folder) = (place.path().join("outside"), place.path().join("vm"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&outside, "the owner's").unwrap();
        symlink(&outside, folder.join("file")).unwrap();
        assert!(open(&folder, "file").is_err());
        write_anew(&folder, "file", b"new").unwrap();
        assert_eq!(std::fs::read(&outside).unwrap(), b"the owner's");
        assert_eq!(end_of(&folder, "file", 100).unwrap(), b"new");
    }

    #[test]
    fn a_planted_pipe_does_not_make_us_wait() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("console.log");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(open(place.path(), "console.log").is_err());
    }

    #[test]
    fn of_a_long_log_only_the_end_takes_space_and_it_goes_on_where_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        log.write_all(&vec![b'x'; 1 << 20]).unwrap();
        assert!(!keep_only_the_end(place.path(), "log", 1 << 20).unwrap());
        assert!(keep_only_the_end(place.path(), "log", BLOCK).unwrap());
        log.write_all(b"more").unwrap();
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!(about.len(), (1 << 20) + 4);
        assert!(about.blocks() * 512 <= 3 * BLOCK, "{} blocks", about.blocks());
        assert_eq!(end_of(place.path(), "log", 6).unwrap(), b"xxmore");
        let log = open(place.path(), "log").unwrap();
        assert_eq!(next_kept(&log, 0).unwrap(), Some((1 << 20) - BLOCK));
        assert_eq!(next_kept(&log, 1 << 20).unwrap(), Some(1 << 20));
        assert_eq!(next_kept(&log, (1 << 20) + 4).unwrap(), None);
    }

    #[test]
    fn of_an_endless_log_only_the_end_is_read() {
        let place = tempfile::tempdir().unwrap();
        let log = File::create(place.path().join("log")).unwrap();
        log.set_len(1 << 40).unwrap();
        { &log }.seek(SeekFrom::End(0)).unwrap();
        { &log }.write_all(b"last words").unwrap();
        assert_eq!(end_of(place.path(), "log", 5).unwrap(), b"words");
    }
}
