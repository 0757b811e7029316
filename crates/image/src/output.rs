//! Files that exist only if everything went well.
//!
//! An [`Outputs`] removes what it created when it is dropped, unless [`Outputs::keep`] was called; so every early
//! return, cancel included, cleans up without being written out.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) struct Outputs {
    folder: PathBuf,
    created: Vec<PathBuf>,
}

impl Outputs {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), created: Vec::new() }
    }

    /// Creates a new file in the folder. A file that is already there is somebody's, and an error.
    pub(crate) fn create(&mut self, name: &str) -> io::Result<File> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        self.created.push(path);
        Ok(file)
    }

    /// From here on the files belong to the caller.
    pub(crate) fn keep(mut self) {
        self.created.clear();
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for path in &self.created {
            // Nothing can be reported from here, and the caller is already handling the error that led here.
            let _ = std::fs::remove_file(path);
        }
    }
}
