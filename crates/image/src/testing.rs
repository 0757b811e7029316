//! What the tests of this crate share: archives made byte by byte, and e2fsprogs as the judge.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Watch;
use crate::layer::{Layer, LayerError, Limits};
use crate::tree::Tree;

/// A tar archive that may be as wrong as a test likes.
pub(crate) struct Archive {
    builder: tar::Builder<Vec<u8>>,
    mtime: u64,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { builder: tar::Builder::new(Vec::new()), mtime: 1_600_000_000 }
    }

    /// Nothing is checked: the path goes into the header as it is.
    pub(crate) fn raw(
        mut self,
        kind: tar::EntryType,
        path: &[u8],
        target: &[u8],
        mode: u32,
        data: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(data.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }

    /// Extended records for the next entry.
    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub(crate) fn header(mut self, change: impl FnOnce(&mut tar::Header), data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(tar::EntryType::Directory, path.as_bytes(), b"", mode, b"")
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.raw(tar::EntryType::Regular, path.as_bytes(), b"", 0o644, data)
    }

    pub(crate) fn program(self, path: &str, data: &[u8]) -> Self {
        self.raw(tar::EntryType::Regular, path.as_bytes(), b"", 0o755, data)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Symlink, path.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Link, path.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }

    pub(crate) fn layer(self) -> Layer {
        open(&self.bytes()).unwrap()
    }

    /// Flattens this archive alone.
    pub(crate) fn tree(self) -> Result<Tree, LayerError> {
        tree(&[self.layer()])
    }
}

pub(crate) fn open(bytes: &[u8]) -> Result<Layer, LayerError> {
    open_with(bytes, &Limits::default())
}

pub(crate) fn open_with(bytes: &[u8], limits: &Limits) -> Result<Layer, LayerError> {
    Layer::open("test.tar", &file(bytes), Path::new("/tmp"), limits, Watch::none())
}

pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn tree(layers: &[Layer]) -> Result<Tree, LayerError> {
    Tree::from_layers(layers, &Limits::default(), Watch::none())
}

/// Fails the test with the checker's words unless the file system has no fault at all.
pub(crate) fn assert_clean(image: &Path) {
    let (code, text) = run("e2fsck", &["-fn"], image);
    assert_eq!(code, 0, "e2fsck -fn {}:\n{text}", image.display());
}

/// Runs a program of e2fsprogs; it is a prerequisite of these tests.
#[expect(
    clippy::disallowed_methods,
    reason = "tests run e2fsprogs directly; this crate itself runs no program"
)]
pub(crate) fn run(program: &str, arguments: &[&str], image: &Path) -> (i32, String) {
    let output = Command::new(program)
        .args(arguments)
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program} ({error}): apt-get install e2fsprogs"));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(source) = at {
        text += &format!(": {source}");
        at = source.source();
    }
    text
}
