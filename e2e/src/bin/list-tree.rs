//! Lists everything that a file tree is, a line for each name, so that two of them can be compared. Started as root,
//! since only root sees all of it.
//!
//! `list-tree image ROOTFS SEED DIR` mounts an image's two file systems on an empty folder, the second on `/root` of
//! the first, read-only and in a mount namespace of its own, so that nobody else sees them and nothing is left.
//! `list-tree layout LAYOUT:TAG DIR` has `umoci` unpack an image into a folder that it makes, and removes it.

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["image", rootfs, seed, folder] => of_image(rootfs, seed, Path::new(folder), &mut out)?,
        ["layout", image, folder] => of_layout(image, Path::new(folder), &mut out)?,
        _ => bail!("list-tree image ROOTFS SEED DIR | list-tree layout LAYOUT:TAG DIR"),
    }
    out.flush().context("writing the list")
}

fn of_image(rootfs: &str, seed: &str, folder: &Path, out: &mut impl Write) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().context("this program's file")?;
        let words = ["image".as_ref(), rootfs.as_ref(), seed.as_ref(), folder.as_os_str()];
        // Private: a mount that stays inside ends with this process.
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--propagation", "private", "--"]).arg(own).args(words).env(INSIDE, "1");
        return run(&mut unshare);
    }
    for (disk, on) in [(rootfs, folder.to_owned()), (seed, folder.join("root"))] {
        run(command("mount").args(["-t", "ext4", "-o", "ro,loop,noload", disk]).arg(on))?;
    }
    list(folder, out)
}

/// Tells this program that it has a mount namespace of its own.
const INSIDE: &str = "LIST_TREE_INSIDE";

fn of_layout(image: &str, folder: &Path, out: &mut impl Write) -> Result<()> {
    let unpacked = run(command("umoci").args(["unpack", "--image", image]).arg(folder));
    let listed = unpacked.and_then(|()| list(&folder.join("rootfs"), out));
    fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    listed
}

#[expect(
    clippy::disallowed_methods,
    reason = "run under `sudo` as well, where nothing else of the harness is"
)]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn list(root: &Path, out: &mut impl Write) -> Result<()> {
    let mut names = vec![PathBuf::new()];
    // By device and number: the first of a file's names.
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    while let Some(name) = names.pop() {
        let path = root.join(&name);
        let line =
            describe(&path, &name, &mut first).with_context(|| format!("looking at {}", path.display()))?;
        writeln!(out, "{line}")?;
        if fs::symlink_metadata(&path)?.is_dir() {
            let entries = fs::read_dir(&path)?.map(|entry| Ok(name.join(entry?.file_name())));
            let mut entries = entries.collect::<Result<Vec<_>>>()?;
            entries.sort_by(|one, other| other.as_os_str().cmp(one.as_os_str()));
            names.extend(entries);
        }
    }
    Ok(())
}

fn describe(path: &Path, name: &Path, first: &mut HashMap<(u64, u64), PathBuf>) -> Result<String> {
    let about = fs::symlink_metadata(path)?;
    let kind = FileType::from_raw_mode(about.mode());
    let mut line = format!(
        "/{} {kind:?} mode={:o} owner={}:{} mtime={}.{:09}",
        name.display(),
        about.mode() & 0o7777,
        about.uid(),
        about.gid(),
        about.mtime(),
        about.mtime_nsec()
    );
    match kind {
        // A directory's size and links are its file system's own business.
        FileType::Directory => {}
        _ => {
            let known = first.entry((about.dev(), about.ino())).or_insert_with(|| name.to_owned());
            line += &format!(" links={} same-as=/{}", about.nlink(), known.display());
        }
    }
    match kind {
        FileType::RegularFile => line += &format!(" size={} sha256={}", about.size(), hash(path)?),
        FileType::Symlink => line += &format!(" target={:?}", fs::read_link(path)?),
        FileType::CharacterDevice | FileType::BlockDevice => line += &format!(" device={:x}", about.rdev()),
        _ => {}
    }
    Ok(line + &attributes(path)?)
}

fn hash(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// All that there are: access control lists and file capabilities are among them.
fn attributes(path: &Path) -> Result<String> {
    let mut buffer = vec![0_u8; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut buffer)?;
    let mut names: Vec<&[u8]> =
        buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        text += &format!(" {}={}", name.display(), hex::encode(&value[..length]));
    }
    Ok(text)
}
