//! A VM's own disks: what is made of the image's root file system, and its work disk.
//!
//! Timed by the daemon itself, which logs how long each of its acts took. The image is one made here, of the size that
//! images have: 40 GiB of root, 8 GiB of work disk, nearly all of both holes.

use super::tree;
use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use banger_e2e::Sandbox;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

const TURNS: usize = 30;
const IMAGES: usize = 3;
const ROOT: &str = "create the root disk";
const WORK: &str = "create the work disk";
const REFLINK: (&str, &str) = ("disk.root.reflink", "root disk, 40 GiB, by reflink");

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_fake_guests();
    let made = tempfile::tempdir_in(sandbox.home()).context("a folder for an image")?;
    let layer = tree::small(made.path())?;
    tree::image(&layer, made.path())?;
    // What a fake guest reads its behaviour from: the part of the disk that ext4 leaves alone.
    let seed = made.path().join(banger_image::rootfs::WORK_SEED);
    File::options().write(true).open(&seed)?.write_all_at(b"{}", 0)?;

    let snapshot = times(&sandbox, "guest-snapshot", made.path())?;
    let most = |ms| Target::AtMost(Value::Milliseconds(ms));
    let copied = || {
        let to = made.path().join("copy");
        let took = sandbox.tool("cp", ["--sparse=always".as_ref(), seed.as_os_str(), to.as_os_str()]).time();
        drop(std::fs::remove_file(to));
        took
    };
    let other = Samples::new((0..TURNS).map(|_| copied())).median();
    let against = |line: Line| line.against("`cp` of the work seed", other);
    let reflink = if can_reflink(&sandbox.state()) {
        let times = times(&sandbox, "reflink", made.path())?;
        against(Line::new(REFLINK.0, REFLINK.1, times.root.median(), most(2.0)))
    } else {
        Line::not_here(REFLINK.0, REFLINK.1, "this file system has no reflink")
    };
    Ok(vec![
        against(Line::new(
            "disk.root.snapshot",
            "root disk, 40 GiB, by guest-snapshot",
            snapshot.root.median(),
            most(2.0),
        )),
        reflink,
        against(Line::new(
            "disk.work.first",
            "work disk, 8 GiB, first of an image",
            snapshot.first_work.median(),
            most(60.0),
        )),
        against(Line::new("disk.work", "work disk, 8 GiB, later ones", snapshot.work.median(), most(5.0))),
    ])
}

struct Times {
    root: Samples,
    first_work: Samples,
    work: Samples,
}

/// Starts VMs of several images, new to the daemon.
fn times(sandbox: &Sandbox, root_disk: &str, made: &Path) -> Result<Times> {
    sandbox.configure(&format!("root_disk = \"{root_disk}\"\nlog_level = \"debug\"\n"));
    let log = sandbox.state().join("bangerd.log");
    let (mut root, mut first_work, mut work) = (Vec::new(), Vec::new(), Vec::new());
    for image in 0..IMAGES {
        let name = format!("{root_disk}-{image}");
        publish(sandbox, &name, made)?;
        // Images are looked for when the daemon starts; so is the configuration.
        drop(sandbox.banger(["daemon", "stop"]).run().expect_success());
        let before = std::fs::read(&log).map_or(0, |text| text.len());
        for _ in 0..=TURNS / IMAGES {
            drop(sandbox.banger(["vm", "create", "--name", "x", "--image", &name]).run().expect_success());
            drop(sandbox.banger(["vm", "delete", "x"]).run().expect_success());
        }
        let said = std::fs::read(&log).context("reading the daemon's log")?;
        let said = String::from_utf8_lossy(said.get(before..).unwrap_or(&said)).into_owned();
        root.extend(steps(&said, ROOT));
        let mut works = steps(&said, WORK).into_iter();
        first_work.push(works.next().context("the daemon's log tells no times")?);
        work.extend(works);
    }
    ensure!(!root.is_empty() && !work.is_empty(), "the daemon's log tells no times");
    Ok(Times { root: Samples::new(root), first_work: Samples::new(first_work), work: Samples::new(work) })
}

/// An image like the sandbox's own but for its name and its disks.
fn publish(sandbox: &Sandbox, name: &str, made: &Path) -> Result<()> {
    let images = sandbox.state().join("images");
    let manifest = std::fs::read_to_string(images.join("debian-bookworm/manifest.json"))?;
    let folder = images.join(name);
    std::fs::create_dir(&folder)?;
    std::fs::write(
        folder.join("manifest.json"),
        manifest.replace("\"debian-bookworm\"", &format!("\"{name}\"")),
    )?;
    for disk in [banger_image::rootfs::ROOTFS, banger_image::rootfs::WORK_SEED] {
        std::fs::hard_link(made.join(disk), folder.join(disk))?;
    }
    Ok(())
}

/// How long each such step took, as the daemon's log has it: `… step="create the root disk" took_us=212`.
fn steps(log: &str, step: &str) -> Vec<Duration> {
    let named = format!("step=\"{step}\" took_us=");
    let times = log.lines().filter_map(|line| line.split_once(&named)?.1.trim().parse().ok());
    times.map(Duration::from_micros).collect()
}

fn can_reflink(folder: &Path) -> bool {
    let (Ok(from), Ok(to)) = (tempfile::tempfile_in(folder), tempfile::tempfile_in(folder)) else {
        return false;
    };
    from.set_len(4096).is_ok() && rustix::fs::ioctl_ficlone(&to, &from).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_one_step_are_found_in_the_log() {
        let log = "2026-01-01T00:00:00Z DEBUG bangerd::vm::effect: done vm=0a step=\"create the root disk\" took_us=212\n\
                   2026-01-01T00:00:00Z DEBUG bangerd::vm::effect: done vm=0a step=\"create the work disk\" took_us=3\n\
                   2026-01-01T00:00:00Z  INFO bangerd::vm::start: running vm=0a\n";
        assert_eq!(steps(log, ROOT), [Duration::from_micros(212)]);
        assert_eq!(steps(log, "create the tap device"), []);
    }
}
