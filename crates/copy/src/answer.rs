//! The far end of looking and removing: takes a list of paths off a connection and answers it.

use super::look::{Looking, MalformedPaths, Paths};
use banger_protocol::guest_api::frame::{self, Failure, Kind, MAX_PAYLOAD, ReadFrameError};
use std::io::{self, Read, Write};
use std::path::Path;

/// Why a list was not answered.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the list of paths was not received")]
    Read(#[source] ReadFrameError),
    #[error("the list of paths broke off")]
    Order,
    #[error(transparent)]
    Paths(MalformedPaths),
    #[error("{what} could not be looked at or removed: {source}")]
    Files { what: String, source: io::Error },
}

/// Answers [`banger_protocol::guest_api::Request::Look`] about the folder.
///
/// # Errors
/// When the connection breaks.
pub fn answer_look(connection: &mut (impl Read + Write), folder: &Path) -> io::Result<()> {
    let looked = receive(connection).and_then(|paths| {
        let failed = |source| AnswerError::Files { what: folder.display().to_string(), source };
        let looking = Looking::into(folder).map_err(failed)?;
        let paths = paths.all().map_err(AnswerError::Paths)?;
        let found = paths.into_iter().map(|path| looking.at(path).map_err(|source| at(path, source)));
        let found: Result<Vec<_>, _> = found.collect();
        Ok(found?.into_iter().flat_map(super::Found::encode).collect::<Vec<u8>>())
    });
    match looked {
        Ok(bytes) => {
            bytes.chunks(MAX_PAYLOAD).try_for_each(|piece| frame::write(connection, Kind::Data, piece))?;
            frame::write(connection, Kind::Done, &[])
        }
        Err(error) => refuse(connection, &error),
    }
}

/// Answers [`banger_protocol::guest_api::Request::Remove`] about the folder.
///
/// # Errors
/// When the connection breaks.
pub fn answer_remove(connection: &mut (impl Read + Write), folder: &Path) -> io::Result<()> {
    let removed = receive(connection).and_then(|paths| {
        let paths = paths.all().map_err(AnswerError::Paths)?;
        let failed = |source| AnswerError::Files { what: folder.display().to_string(), source };
        super::remove(folder, paths).map_err(failed)
    });
    match removed {
        Ok(()) => frame::write_json(connection, Kind::Reply, &()),
        Err(error) => refuse(connection, &error),
    }
}

fn receive(connection: &mut impl Read) -> Result<Paths, AnswerError> {
    let mut paths = Paths::default();
    while let Some(frame) = frame::read(connection).map_err(AnswerError::Read)? {
        match frame.kind {
            Kind::Data => paths.take(&frame.payload).map_err(AnswerError::Paths)?,
            Kind::Done => return Ok(paths),
            _ => break,
        }
    }
    Err(AnswerError::Order)
}

fn at(path: &[u8], source: io::Error) -> AnswerError {
    AnswerError::Files { what: String::from_utf8_lossy(path).into_owned(), source }
}

fn refuse(connection: &mut impl Write, error: &AnswerError) -> io::Result<()> {
    frame::write_json(connection, Kind::Error, &Failure { message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What is answered to these frames.
    fn answered(
        frames: &[(Kind, &[u8])],
        answer: fn(&mut Both, &Path) -> io::Result<()>,
        at: &Path,
    ) -> Vec<Kind> {
        let mut asked = Vec::new();
        frames.iter().for_each(|(kind, payload)| frame::write(&mut asked, *kind, payload).unwrap());
        let mut both = Both(Cursor::new(asked), Vec::new());
        answer(&mut both, at).unwrap();
        let mut said = Cursor::new(both.1);
        std::iter::from_fn(|| frame::read(&mut said).unwrap()).map(|frame| frame.kind).collect()
    }

    struct Both(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Both {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Both {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_list_is_answered_whole_and_one_that_is_none_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "x").unwrap();
        let list: &[(Kind, &[u8])] = &[(Kind::Data, b"a\0no"), (Kind::Data, b"ne\0"), (Kind::Done, b"")];
        assert_eq!(answered(list, answer_look, folder.path()), [Kind::Data, Kind::Done]);
        for wrong in [
            &[(Kind::Data, &b"../a\0"[..]), (Kind::Done, b"")][..],
            &[(Kind::Data, b"a\0")],
            &[(Kind::Stdin, b"")],
        ] {
            assert_eq!(answered(wrong, answer_look, folder.path()), [Kind::Error]);
            assert_eq!(answered(wrong, answer_remove, folder.path()), [Kind::Error]);
        }
        assert!(folder.path().join("a").exists());
        assert_eq!(answered(list, answer_remove, folder.path()), [Kind::Reply]);
        assert!(!folder.path().join("a").exists());
    }
}
