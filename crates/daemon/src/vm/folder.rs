//! The files in a VM's folder, for the daemon.
//!
//! A guest that took over its VMM may have put anything there: a link to a file of the owner's, a pipe that nobody
//! writes to, a log of a size that fits no memory. So no link is followed, nothing opened here can make us wait,
//! only ordinary files are read, and never more of one than was asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The ordinary file of this name, for reading.
pub(super) fn open(folder: &Path, name: &str) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file =
        OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(folder.join(name))?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} in the VM's folder is no ordinary file")))
}

/// The end of a file, at most so many bytes of it.
pub(super) fn end_of(folder: &Path, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(folder, name)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
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
    fn of_an_endless_log_only_the_end_is_read() {
        let place = tempfile::tempdir().unwrap();
        let log = File::create(place.path().join("log")).unwrap();
        log.set_len(1 << 40).unwrap();
        { &log }.seek(SeekFrom::End(0)).unwrap();
        { &log }.write_all(b"last words").unwrap();
        assert_eq!(end_of(place.path(), "log", 5).unwrap(), b"words");
    }
}
