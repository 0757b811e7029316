//! An archive of blobs, as the places of its entries.
//!
//! One pass over the headers; content is read later and where it lies. Names are only looked up, so one that climbs
//! or is absolute leads nowhere. A link, as older `docker save` wrote for layers that occur twice, leads to another
//! entry once.

use super::{OpenError, Region};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

/// Most entries of an archive of images.
pub(super) const MAX_PARTS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Parts {
    path: PathBuf,
    file: File,
    places: HashMap<String, Place>,
}

#[derive(Debug)]
enum Place {
    At { offset: u64, length: u64 },
    SameAs(String),
}

impl Parts {
    /// Reads where everything in the archive is.
    pub(super) fn of(path: &Path) -> Result<Self, OpenError> {
        let shown = || path.display().to_string();
        let read_error = |source| OpenError::Read { path: shown(), source };
        let about = std::fs::metadata(path).map_err(read_error)?;
        if !about.is_file() {
            return Err(read_error(io::Error::other("it is not a regular file")));
        }
        let file = File::open(path).map_err(read_error)?;
        if is_compressed(&file).map_err(read_error)? {
            return Err(OpenError::Compressed { path: shown() });
        }
        let bad = |source| OpenError::BadArchive { path: shown(), source };
        let mut archive = tar::Archive::new(&file);
        let mut places = HashMap::new();
        for entry in archive.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let Some(name) = normal(&entry.path_bytes()) else { continue };
            let kind = entry.header().entry_type();
            let place = if kind.is_file() {
                let (offset, length) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(length).is_none_or(|end| end > about.len()) {
                    return Err(OpenError::Truncated { path: shown(), part: name });
                }
                Place::At { offset, length }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let Some(target) = entry.link_name_bytes() else { continue };
                let target = String::from_utf8_lossy(&target).into_owned();
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let from = if kind.is_symlink() { format!("{folder}/{target}") } else { target };
                let Some(target) = normal(from.as_bytes()) else { continue };
                Place::SameAs(target)
            } else {
                continue;
            };
            places.insert(name, place);
            if places.len() > MAX_PARTS {
                return Err(OpenError::TooManyParts { path: shown() });
            }
        }
        Ok(Self { path: path.to_owned(), file, places })
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The entry of this name; none if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Option<Region>, OpenError> {
        let Some(name) = normal(name.as_bytes()) else { return Ok(None) };
        let place = match self.places.get(&name) {
            Some(Place::SameAs(other)) => self.places.get(other),
            place => place,
        };
        let Some(&Place::At { offset, length }) = place else { return Ok(None) };
        let file = self.file.try_clone();
        let file = file.map_err(|source| OpenError::Read { path: self.shown(), source })?;
        Ok(Some(Region { file, offset, length }))
    }
}

fn is_compressed(file: &File) -> io::Result<bool> {
    let mut magic = [0; 4];
    let read = file.read_at(&mut magic, 0)?;
    Ok(matches!(&magic[..read], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]))
}

/// One way to write a name; none for what is no name inside the archive.
fn normal(path: &[u8]) -> Option<String> {
    let text = str::from_utf8(path).ok()?;
    let mut words: Vec<&str> = Vec::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => drop(words.pop()?),
            Component::Normal(word) => words.push(word.to_str()?),
        }
    }
    (!words.is_empty()).then(|| words.join("/"))
}
