//! What an image has in `/root`, which banger keeps in a file system of its own, put back where it was.
//!
//! `debugfs` writes it into a copy of the root file system, unmounted and as an ordinary user. It is not believed:
//! afterwards every file is compared, and `e2fsck` has the last word.

use anyhow::{Context as _, Result, ensure};
use ext4_view::{Ext4, Metadata};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root file system with a full `/root`: as it is if its own is full already, otherwise a copy in `scratch`.
pub(crate) fn put_back(rootfs: &Path, seed: &Path, scratch: &Path) -> Result<PathBuf> {
    let load =
        |path: &Path| Ext4::load_from_path(path).with_context(|| format!("reading {}", path.display()));
    let (image, home) = (load(rootfs)?, load(seed)?);
    let mut script = Script { home: &home, scratch, text: String::new(), files: 0 };
    script.folder("/")?;
    if script.text.is_empty() || image.read_dir("/root").is_ok_and(|names| names.count() > 2) {
        return Ok(rootfs.to_owned());
    }
    let whole = scratch.join("rootfs.ext4");
    run("cp", &["--sparse=always".as_ref(), "--".as_ref(), rootfs.as_os_str(), whole.as_os_str()])?;
    let commands = scratch.join("commands");
    fs::write(&commands, &script.text).context("writing what debugfs is to do")?;
    run("debugfs", &["-w".as_ref(), "-f".as_ref(), commands.as_os_str(), whole.as_os_str()])?;
    run("e2fsck", &["-fn".as_ref(), whole.as_os_str()])?;
    same(&home, &load(&whole)?, "/")?;
    Ok(whole)
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a publisher's own tools, in the usual places")]
    let output = Command::new(program).args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Names below a folder, the two that every folder has and the one of a file system's root left out.
fn names(image: &Ext4, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in image.read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_str().context("a name in /root is no text")?;
        if !(matches!(name, "." | "..") || (folder == "/" && name == "lost+found")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn below(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

/// What `debugfs` is told.
struct Script<'a> {
    home: &'a Ext4,
    scratch: &'a Path,
    text: String,
    files: u32,
}

impl Script<'_> {
    fn folder(&mut self, folder: &str) -> Result<()> {
        for name in names(self.home, folder)? {
            // Its own quoting knows no more than this.
            ensure!(!name.contains(['"', '\n']), "debugfs cannot write a file named {name:?}");
            let path = below(folder, &name);
            let about = self.home.symlink_metadata(path.as_str())?;
            let there = below("/root", path.trim_start_matches('/'));
            let parent = below("/root", folder.trim_matches('/'));
            writeln!(self.text, "cd \"{}\"", parent.trim_end_matches('/'))?;
            if about.is_dir() {
                writeln!(self.text, "mkdir \"{name}\"")?;
            } else if about.is_symlink() {
                let target = self.home.read_link(path.as_str())?;
                let target = target.to_str().context("a link in /root leads to no text")?;
                writeln!(self.text, "symlink \"{name}\" \"{target}\"")?;
            } else {
                let content = self.scratch.join(self.files.to_string());
                self.files += 1;
                fs::write(&content, self.home.read(path.as_str())?).context("copying a file of /root")?;
                writeln!(self.text, "write \"{}\" \"{name}\"", content.display())?;
            }
            self.attributes(&there, &about)?;
            if about.is_dir() {
                self.folder(&path)?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, path: &str, about: &Metadata) -> Result<()> {
        let kind = if about.is_dir() {
            0o040_000
        } else if about.is_symlink() {
            0o120_000
        } else {
            0o100_000
        };
        writeln!(self.text, "sif \"{path}\" mode 0{:o}", kind | (about.mode() & 0o7777))?;
        for (field, value) in [("uid", about.uid()), ("gid", about.gid())] {
            writeln!(self.text, "sif \"{path}\" {field} {value}")?;
        }
        // When it was written is no part of a bundle.
        for time in ["atime", "ctime", "mtime", "crtime"] {
            writeln!(self.text, "sif \"{path}\" {time} @0")?;
        }
        Ok(())
    }
}

/// Fails unless everything of `home` below `folder` is in the image's `/root`.
fn same(home: &Ext4, image: &Ext4, folder: &str) -> Result<()> {
    for name in names(home, folder)? {
        let path = below(folder, &name);
        let there = below("/root", path.trim_start_matches('/'));
        let (one, other) = (home.symlink_metadata(path.as_str())?, image.symlink_metadata(there.as_str())?);
        let about = |it: &Metadata| (it.mode() & 0o7777, it.uid(), it.gid(), it.is_dir(), it.is_symlink());
        ensure!(about(&one) == about(&other), "debugfs wrote {there} in another way");
        if one.is_dir() {
            same(home, image, &path)?;
        } else if one.is_symlink() {
            ensure!(
                home.read_link(path.as_str())? == image.read_link(there.as_str())?,
                "{there} leads elsewhere"
            );
        } else {
            ensure!(home.read(path.as_str())? == image.read(there.as_str())?, "{there} has other content");
        }
    }
    Ok(())
}
