//! Archives to make images of, always the same.

use anyhow::{Context as _, Result};
use banger_image::Watch;
use banger_image::layer::Layer;
use banger_image::rootfs;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A few files, `/root` among them.
pub(super) fn small(folder: &Path) -> Result<PathBuf> {
    archive(folder, 50, 4096)
}

/// As a distribution is: thousands of files of all sizes, some of them links.
pub(super) fn large(folder: &Path) -> Result<PathBuf> {
    archive(folder, 4_000, 24 << 10)
}

fn archive(folder: &Path, files: u32, average: u64) -> Result<PathBuf> {
    let path = folder.join("layer.tar");
    let mut archive =
        tar::Builder::new(std::io::BufWriter::new(File::create(&path).context("making the archive")?));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut content = vec![0; 1 << 20];
    content.iter_mut().for_each(|byte| *byte = random.below(256).to_le_bytes()[0]);
    directory(&mut archive, "root/")?;
    file(&mut archive, "root/.profile", b"# the work disk's\n")?;
    for number in 0..files {
        if number % 40 == 0 {
            directory(&mut archive, &format!("usr/{}/", number / 40))?;
        }
        let name = format!("usr/{}/file-{number}", number / 40);
        match number % 16 {
            0 if number > 0 => link(&mut archive, tar::EntryType::Symlink, &name, "../0/file-1")?,
            1 if number > 1 => link(&mut archive, tar::EntryType::Link, &name, "usr/0/file-1")?,
            // Sizes as they are found: most small, few large.
            _ => {
                let most = if random.below(20) == 0 { average * 10 } else { average };
                let size = usize::try_from(random.below(most).min(content.len() as u64 - 1))?;
                let start = usize::try_from(random.below((content.len() - size) as u64))?;
                file(&mut archive, &name, &content[start..start + size])?;
            }
        }
    }
    archive.into_inner().and_then(|mut file| file.flush()).context("finishing the archive")?;
    Ok(path)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header
}

fn directory(archive: &mut tar::Builder<impl std::io::Write>, name: &str) -> Result<()> {
    let mut header = header(tar::EntryType::Directory, 0o755, 0);
    archive.append_data(&mut header, name, std::io::empty()).with_context(|| format!("archiving {name}"))
}

fn file(archive: &mut tar::Builder<impl std::io::Write>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
    archive.append_data(&mut header, name, content).with_context(|| format!("archiving {name}"))
}

fn link(
    archive: &mut tar::Builder<impl std::io::Write>,
    kind: tar::EntryType,
    name: &str,
    target: &str,
) -> Result<()> {
    let mut header = header(kind, 0o777, 0);
    archive.append_link(&mut header, name, target).with_context(|| format!("archiving {name}"))
}

/// The same numbers every time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }
}

/// Makes both disks of an image from an archive, in `folder`.
pub(crate) fn image(archive: &Path, folder: &Path) -> Result<()> {
    let (report, cancelled) = (|_| {}, AtomicBool::new(false));
    let watch = Watch::new(&report, &cancelled);
    let options = rootfs::Options::default();
    let file = File::open(archive).context("opening the archive")?;
    let layer = Layer::open("layer", &file, folder, &options.limits, watch).context("reading the archive")?;
    rootfs::build(&[layer], &options, folder, watch).context("making the file systems")?;
    Ok(())
}
