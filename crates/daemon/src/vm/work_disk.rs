//! A VM's work disk: what the image has below `/root`, on a disk of the size that the user wants.
//!
//! ```text
//! images/<name>/work-seed.ext4 ──(usual size)──────────────────────────────▶ vms/<id>/work.img
//!              └──(another)──▶ resized ──▶ images/<name>/work-<MiB>M.ext4 ──▶
//! ```
//!
//! The seed has the usual size already, nearly all of it holes, so copying it copies next to nothing. For another size
//! a copy is resized once and kept beside the seed for the next VM. It is prepared in the VM's folder, which is removed
//! with the VM, and renamed when it is complete.
//!
//! A disk that is there already holds what a guest wrote. It is never parsed here: when more is wanted its file becomes
//! longer, by a hole, and the guest's kernel makes its file system as large at the next boot.

use crate::clone::{CloneError, clone_file, hint_for};
use crate::vm::program::find;
use banger_protocol::root_api::DiskRole;
use banger_protocol::size::ByteSize;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RESIZER: &str = "resize2fs";

/// A work disk that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkDiskError {
    #[error(transparent)]
    Clone(CloneError),
    #[error("{RESIZER} is not installed, which is needed for `--disk-size`")]
    NoResizer,
    #[error("{RESIZER} could not be run")]
    Run(#[source] io::Error),
    #[error("the image's /root does not fit on a disk of {size}: {said}")]
    Resize { size: ByteSize, said: String },
    #[error("{path}")]
    File { path: String, source: io::Error },
}

impl WorkDiskError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Clone(error) => error.hint(),
            Self::NoResizer => Some("install e2fsprogs, or leave out --disk-size".to_owned()),
            Self::Resize { said, .. } if said.contains("No space left") => {
                Some("free some space on the disk that holds banger's state".to_owned())
            }
            Self::Resize { .. } => Some("choose a larger --disk-size".to_owned()),
            Self::File { source, .. } | Self::Run(source) => hint_for(source),
        }
    }
}

/// Makes the work disk in a VM's folder, or sees to it that the one there has this size at least.
///
/// Disks of other sizes than the seed's are kept in `kept`.
pub(super) fn make(folder: &Path, seed: &Path, kept: &Path, size: ByteSize) -> Result<(), WorkDiskError> {
    let disk = folder.join(DiskRole::Work.file_name());
    match File::options().write(true).open(&disk) {
        Ok(there) => return lengthen(&there, size).map_err(file(&disk)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(file(&disk)(error)),
    }
    let from = if std::fs::metadata(seed).map_err(file(seed))?.len() == size.as_bytes() {
        seed.to_owned()
    } else {
        prepared(folder, seed, kept, size)?
    };
    clone_file(&from, &disk).map_err(WorkDiskError::Clone)
}

fn lengthen(disk: &File, size: ByteSize) -> io::Result<()> {
    if disk.metadata()?.len() < size.as_bytes() { disk.set_len(size.as_bytes()) } else { Ok(()) }
}

/// The seed on a disk of this size.
fn prepared(folder: &Path, seed: &Path, kept: &Path, size: ByteSize) -> Result<PathBuf, WorkDiskError> {
    let prepared = kept.join(format!("work-{}M.ext4", size.as_mib()));
    // A seed that is not banger's may have become another since.
    let modified = |path: &Path| std::fs::metadata(path).and_then(|about| about.modified()).ok();
    if prepared.exists() && modified(&prepared) >= modified(seed) {
        return Ok(prepared);
    }
    let unfinished = folder.join("work-resized.img");
    clone_file(seed, &unfinished).map_err(WorkDiskError::Clone)?;
    if let Err(error) = resize(&unfinished, size) {
        // It holds space for as long as the VM is there.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    // Whoever prepared the same meanwhile has made the same.
    std::fs::rename(&unfinished, &prepared).map_err(file(&prepared))?;
    Ok(prepared)
}

/// Everything on the disk is ours: the seed was written by banger or by the owner, and no guest has had it.
fn resize(disk: &Path, size: ByteSize) -> Result<(), WorkDiskError> {
    let resizer = find(RESIZER).ok_or(WorkDiskError::NoResizer)?;
    #[expect(clippy::disallowed_methods, reason = "a tool of the host: absolute path, cleared environment")]
    let mut command = Command::new(resizer);
    command.env_clear().env("LC_MESSAGES", "C").current_dir("/").stdin(Stdio::null());
    // The path is absolute and begins with no dash.
    let output = command.arg(disk).arg(format!("{}M", size.as_mib())).output().map_err(WorkDiskError::Run)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(WorkDiskError::Resize { size, said: complaint(&said) });
    }
    // A file system that became smaller leaves the rest of its file.
    let resized = File::options().write(true).open(disk).map_err(file(disk))?;
    resized.set_len(size.as_bytes()).and_then(|()| resized.sync_all()).map_err(file(disk))
}

/// The line that says why. Pure.
fn complaint(stderr: &str) -> String {
    let said = stderr.lines().find_map(|line| line.strip_prefix("resize2fs: "));
    said.or(stderr.lines().next()).unwrap_or("it did not say why").trim().to_owned()
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> WorkDiskError {
    let path = path.display().to_string();
    move |source| WorkDiskError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_image::Watch;
    use banger_image::layer::Layer;
    use banger_image::rootfs;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::sync::atomic::AtomicBool;

    /// A folder with an image's seed, and one for a VM.
    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (image, vm) = (place.path().join("image"), place.path().join("vm"));
        std::fs::create_dir(&image).unwrap();
        std::fs::create_dir(&vm).unwrap();
        // An archive without entries: two blocks of zeros.
        let archive = image.join("layer.tar");
        std::fs::write(&archive, [0; 1024]).unwrap();
        let (report, cancelled) = (|_| {}, AtomicBool::new(false));
        let (watch, options) = (Watch::new(&report, &cancelled), rootfs::Options::default());
        let archive = File::open(archive).unwrap();
        let layer = Layer::open("empty", &archive, &image, &options.limits, watch).unwrap();
        rootfs::build(&[layer], &options, &image, watch).unwrap();
        (place, image.join(rootfs::WORK_SEED), vm)
    }

    #[test]
    fn a_disk_of_the_seeds_size_is_a_copy_of_it_and_one_that_is_there_stays() {
        let (_place, seed, vm) = place();
        make(&vm, &seed, seed.parent().unwrap(), ByteSize::mib(8192)).unwrap();
        let disk = vm.join("work.img");
        let length = || std::fs::metadata(&disk).unwrap().len();
        assert_eq!(length(), 8 << 30);
        let guests = b"the guest's";
        File::options().write(true).open(&disk).unwrap().write_all_at(guests, 4 << 30).unwrap();
        for (wanted, has) in [(8 << 10, 8_u64 << 30), (4 << 10, 8 << 30), (20 << 10, 20 << 30)] {
            make(&vm, &seed, seed.parent().unwrap(), ByteSize::mib(wanted)).unwrap();
            assert_eq!(length(), has, "{wanted} MiB wanted");
            let mut there = [0; 11];
            File::open(&disk).unwrap().read_exact_at(&mut there, 4 << 30).unwrap();
            assert_eq!(&there, guests);
        }
    }

    #[test]
    fn other_sizes_are_prepared_once_are_sound_and_take_no_space() {
        let (_place, seed, vm) = place();
        for mib in [256, 20 << 10] {
            make(&vm, &seed, seed.parent().unwrap(), ByteSize::mib(mib)).unwrap();
            let disk = vm.join("work.img");
            let about = std::fs::metadata(&disk).unwrap();
            assert_eq!(about.len(), mib << 20);
            assert!(about.blocks() * 512 < 4 << 20, "{} bytes on disk", about.blocks() * 512);
            #[expect(clippy::disallowed_methods, reason = "the judge of what was made")]
            let check = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(&disk).output().unwrap();
            assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
            std::fs::remove_file(&disk).unwrap();

            let prepared = seed.with_file_name(format!("work-{mib}M.ext4"));
            let made = std::fs::metadata(&prepared).unwrap().ino();
            make(&vm, &seed, seed.parent().unwrap(), ByteSize::mib(mib)).unwrap();
            std::fs::remove_file(&disk).unwrap();
            assert_eq!(std::fs::metadata(&prepared).unwrap().ino(), made, "it was prepared again");
        }
        assert_eq!(std::fs::read_dir(&vm).unwrap().count(), 0);
    }

    #[test]
    fn a_seed_that_does_not_fit_is_refused_in_the_resizers_words() {
        let (_place, seed, vm) = place();
        let error = make(&vm, &seed, seed.parent().unwrap(), ByteSize::mib(1)).unwrap_err();
        assert!(matches!(&error, WorkDiskError::Resize { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--disk-size")));
        assert!(!seed.with_file_name("work-1M.ext4").exists());
    }
}
