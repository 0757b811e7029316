//! A Debian in compressed layers becomes an image, against `umoci unpack` and `mke2fs -d` as root.
//!
//! Ours is the whole of `banger image pull oci:…`: digests compared, layers unpacked and laid over each other, both
//! file systems written, the image published. The memory is the daemon's, which does that work, at its highest.

use super::ext4::fingerprint;
use super::memory::peak;
use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use banger_e2e::{Debian, Sandbox};
use std::path::Path;
use std::time::{Duration, Instant};

const TURNS: usize = 2;
const LIMIT: Duration = Duration::from_secs(600);

pub(super) fn measure() -> Result<Vec<Line>> {
    let (id, what) = ("layers", "Debian in layers to an image");
    if !rustix::process::geteuid().is_root() {
        return Ok(vec![Line::not_here(id, what, "only root can have `umoci` unpack it")]);
    }
    let sandbox = Sandbox::with_fake_guests();
    let layout = Debian::wished().layout(&sandbox);
    let image = format!("{}:v1", layout.display());
    let (mut ours, mut theirs, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let (took, bytes) = pull(&sandbox, &image, &format!("turn-{turn}"))?;
        let other = unpack_and_make(&sandbox, &image)?;
        made.push(bytes);
        if turn > 0 {
            ours.push(took);
            theirs.push(other);
        }
    }
    let differing = made.iter().filter(|bytes| **bytes != made[0]).count();
    let memory = peak(&sandbox, "bangerd")?;
    Ok(vec![
        Line::new(id, what, Samples::new(ours).median(), Target::TimesFaster(5.0))
            .against("`umoci unpack`, `mke2fs -d`", Samples::new(theirs).median()),
        Line::new("layers.memory", "  its memory at most", memory, Target::AtMost(Value::Mebibytes(200.0))),
        Line::new(
            "layers.same",
            "  later runs with other bytes",
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            Value::Count(differing as f64),
            Target::AtMost(Value::Count(0.0)),
        ),
    ])
}

/// How long it took, and a digest of both disks.
fn pull(sandbox: &Sandbox, image: &str, name: &str) -> Result<(Duration, u64)> {
    let words = ["image", "pull", &format!("oci:{image}"), "--name", name];
    let took = sandbox.banger(words).limit(LIMIT).time();
    let shown = sandbox.json(&["image", "show", name]);
    let rootfs = Path::new(shown["rootfs_path"].as_str().context("an image has a root file system")?);
    let seed = rootfs.with_file_name(banger_image::rootfs::WORK_SEED);
    let bytes = fingerprint(&seed, fingerprint(rootfs, 0)?)?;
    drop(sandbox.banger(["image", "delete", name]).run().expect_success());
    Ok((took, bytes))
}

fn unpack_and_make(sandbox: &Sandbox, image: &str) -> Result<Duration> {
    let folder = tempfile::tempdir_in(sandbox.home()).context("a folder")?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let begun = Instant::now();
    let _ = sandbox.tool("umoci", ["unpack", "--image", image, &at("bundle")]).limit(LIMIT).time();
    let lazy = "lazy_itable_init=1,lazy_journal_init=1";
    let words = ["-q", "-t", "ext4", "-E", lazy, "-d", &at("bundle/rootfs"), &at("root.ext4"), "40G"];
    let _ = sandbox.tool("mke2fs", words).limit(LIMIT).time();
    let took = begun.elapsed();
    ensure!(Path::new(&at("root.ext4")).exists(), "mke2fs made nothing");
    Ok(took)
}
