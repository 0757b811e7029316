//! The image and the kernel that guest tests boot, made once for each machine.
//!
//! Making them takes a minute; booting them takes seconds. They are kept outside the checkout, under a key made of
//! everything that decides what is in them: the agent that lies in every initrd, and the sources that build, write
//! and describe images. A change there gives another key, so a test never boots yesterday's image. Each sandbox
//! gets hard links, which costs nothing and is safe because banger writes no published image.

use crate::Sandbox;
use crate::programs;
use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What of a state folder is shared.
const SHARED: [&str; 2] = ["images", "kernels"];

/// Sources that decide what is in an image or a kernel entry, relative to the checkout.
const DECIDING: &[&str] = &[
    "crates/image/src",
    "crates/cli/src/build",
    "crates/cli/catalog.toml",
    "crates/daemon/src/image",
    "crates/daemon/src/kernel",
];

/// Old keys are removed after this long without use.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where tests keep what outlives them.
pub(crate) fn cache() -> PathBuf {
    let own = std::env::var_os("BANGER_E2E_CACHE").map(PathBuf::from);
    let users = || std::env::var_os("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("banger-e2e"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/banger-e2e"));
    own.or_else(users).or_else(home).expect("either HOME or XDG_CACHE_HOME is set")
}

/// Links image and kernel into a sandbox, building them first if this machine has none of this key. To a sandbox on
/// another file system they are copied, holes and all.
pub(crate) fn share_into(sandbox: &Sandbox) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (template, state) = (template()?, sandbox.state());
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev());
    if device(&template)? == device(&state)? {
        return SHARED.iter().try_for_each(|shared| link_tree(&template.join(shared), &state.join(shared)));
    }
    let from = SHARED.map(|shared| template.join(shared));
    let words = [OsStr::new("-a"), OsStr::new("--sparse=always"), OsStr::new("--")].into_iter();
    let words = words.chain(from.iter().map(|path| path.as_os_str())).chain([state.as_os_str()]);
    drop(sandbox.tool("cp", words).run().expect_success());
    Ok(())
}

/// Puts an image with `free` bytes of space beside the default one, which is too large to be filled in a test, and
/// returns the file of its root file system.
pub(crate) fn add_small(sandbox: &Sandbox, name: &str, free: u64) -> Result<PathBuf> {
    let images = sandbox.state().join("images");
    let (from, to) = (images.join("debian-bookworm"), images.join(name));
    link_tree(&from, &to)?;
    let rootfs = to.join("rootfs.ext4");
    fs::remove_file(&rootfs).context("replacing the link of the root file system")?;
    let (source, target) = (from.join("rootfs.ext4"), rootfs.display().to_string());
    let run = |tool: &str, arguments: &[&str]| drop(sandbox.tool(tool, arguments).run().expect_success());
    run("cp", &["--sparse=always", "--", &source.display().to_string(), &target]);
    run("resize2fs", &["-M", &target]);
    let least = fs::metadata(&rootfs).with_context(|| format!("looking at {target}"))?.len();
    let kib = (least + free).div_ceil(1024);
    run("resize2fs", &[&target, &format!("{kib}K")]);
    let manifest = to.join("manifest.json");
    let text = fs::read_to_string(&manifest).context("reading the manifest")?;
    fs::remove_file(&manifest).context("replacing the link of the manifest")?;
    fs::write(&manifest, text.replace("\"debian-bookworm\"", &format!("\"{name}\"")))
        .context("writing the manifest")?;
    Ok(rootfs)
}

/// The folder with image and kernel: one brought from another machine, or this machine's. One builds it, the
/// others wait.
pub(crate) fn template() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("BANGER_E2E_TEMPLATE") {
        return Ok(PathBuf::from(given));
    }
    let templates = cache().join("templates");
    fs::create_dir_all(&templates).with_context(|| format!("making {}", templates.display()))?;
    let lock = File::create(templates.join("lock")).context("making the lock of the image cache")?;
    flock(&lock, FlockOperation::LockExclusive).context("locking the image cache")?;

    let template = templates.join(key()?);
    if !template.exists() {
        remove_unused(&templates)?;
        build(&template)?;
    }
    touch(&template)?;
    Ok(template)
}

/// Lets banger build them the way a user would, then keeps what it made.
fn build(template: &Path) -> Result<()> {
    eprintln!("building the image and the kernel for guest tests, once: {}", template.display());
    let sandbox = Sandbox::empty();
    let name = "template";
    let created = sandbox.banger(["vm", "create", "--no-start", "--name", name]);
    drop(created.limit(Duration::from_secs(900)).run().expect_success());
    drop(sandbox.banger(["vm", "delete", name]).run().expect_success());
    drop(sandbox.banger(["daemon", "stop"]).run().expect_success());

    let unfinished = template.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    }
    for shared in SHARED {
        link_tree(&sandbox.state().join(shared), &unfinished.join(shared))?;
    }
    fs::rename(&unfinished, template).with_context(|| format!("publishing {}", template.display()))
}

fn key() -> Result<String> {
    let mut hash = Sha256::new();
    // By their names and not their places: two checkouts of the same sources share what they make.
    let mut add = |path: &Path, name: &Path| -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
        Ok(())
    };
    add(&programs::folder().join("banger-vsock-agent"), Path::new("banger-vsock-agent"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate lies in the checkout")?;
    for source in DECIDING {
        let mut files = files_below(&root.join(source))?;
        files.sort();
        files.iter().try_for_each(|file| add(file, file.strip_prefix(root).unwrap_or(file)))?;
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

/// Every file below a path, which may be a file itself or not exist.
fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
        files.extend(files_below(&entry.with_context(|| format!("listing {}", path.display()))?.path())?);
    }
    Ok(files)
}

/// The same folders, the same files.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(to)
        .with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_tree(&source, &target)?;
        } else {
            fs::hard_link(&source, &target)
                .with_context(|| format!("linking {} to {}", source.display(), target.display()))?;
        }
    }
    Ok(())
}

fn touch(template: &Path) -> Result<()> {
    File::create(template.join("used"))
        .map(drop)
        .with_context(|| format!("marking {} as used", template.display()))
}

fn remove_unused(templates: &Path) -> Result<()> {
    for entry in fs::read_dir(templates).with_context(|| format!("listing {}", templates.display()))? {
        let path = entry.with_context(|| format!("listing {}", templates.display()))?.path();
        let used = path.join("used").metadata().and_then(|meta| meta.modified());
        if used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > KEPT)) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_tree_shares_its_files_and_not_its_folders() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("state/images"));
        fs::create_dir_all(from.join("debian")).expect("a folder");
        fs::write(from.join("debian/rootfs.ext4"), "bytes").expect("a file");
        link_tree(&from, &to).expect("it can be linked");
        let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
        assert_eq!(inode(&from.join("debian/rootfs.ext4")), inode(&to.join("debian/rootfs.ext4")));
        fs::remove_dir_all(&to).expect("it can be removed");
        assert_eq!(fs::read_to_string(from.join("debian/rootfs.ext4")).expect("it is there"), "bytes");
    }

    #[test]
    fn only_templates_that_were_not_used_for_long_are_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [old, recent] = ["old", "recent"].map(|name| folder.path().join(name));
        for template in [&old, &recent] {
            fs::create_dir(template).expect("a folder");
            touch(template).expect("it is writable");
        }
        let long_ago = std::time::SystemTime::now() - KEPT - Duration::from_secs(60);
        File::open(old.join("used")).and_then(|file| file.set_modified(long_ago)).expect("our own file");
        remove_unused(folder.path()).expect("it can be listed");
        assert!(!old.exists() && recent.exists());
    }
}
