//! A layer on the disk becomes a file system, against unpacking it and making one of the folder.

use super::tree;
use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use banger_e2e::Sandbox;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

const TURNS: usize = 2;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_fake_guests();
    let place = tempfile::tempdir_in(sandbox.home()).context("a folder")?;
    let archive = tree::large(place.path())?;
    let (mut ours, mut theirs, mut memory, mut outputs) = (Vec::new(), Vec::new(), 0.0_f64, Vec::new());
    for turn in 0..=TURNS {
        let (took, peak, digest) = build(&sandbox, &archive, &place.path().join(format!("ours-{turn}")))?;
        let other = unpack_and_make(&sandbox, &archive, &place.path().join("theirs"))?;
        memory = memory.max(peak);
        outputs.push(digest);
        if turn > 0 {
            ours.push(took);
            theirs.push(other);
        }
    }
    let differing = outputs.iter().filter(|output| **output != outputs[0]).count();
    Ok(vec![
        Line::new("image", "layer on disk to ext4", Samples::new(ours).median(), Target::TimesFaster(5.0))
            .against("`tar x`, `mke2fs -d`", Samples::new(theirs).median()),
        Line::new(
            "image.memory",
            "  its memory at most",
            Value::Mebibytes(memory),
            Target::AtMost(Value::Mebibytes(200.0)),
        ),
        Line::new(
            "image.same",
            "  later runs with other bytes",
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            Value::Count(differing as f64),
            Target::AtMost(Value::Count(0.0)),
        ),
    ])
}

/// In a process of its own, for its memory's sake: time, MiB at most, and a digest of both files.
fn build(sandbox: &Sandbox, archive: &Path, to: &Path) -> Result<(Duration, f64, u64)> {
    std::fs::create_dir(to)?;
    let own = std::env::current_exe()?;
    let words = [own.as_os_str(), "inside".as_ref(), "image".as_ref(), archive.as_os_str(), to.as_os_str()];
    let finished = sandbox.tool("env", words).run().expect_success();
    let mut told = finished.stdout_text().split_whitespace().map(str::parse::<f64>);
    let (Some(Ok(seconds)), Some(Ok(mib))) = (told.next(), told.next()) else {
        anyhow::bail!("the build told no figures: {}", finished.stdout_text());
    };
    let mut digest = 0;
    for disk in [banger_image::rootfs::ROOTFS, banger_image::rootfs::WORK_SEED] {
        digest = fingerprint(&to.join(disk), digest)?;
    }
    std::fs::remove_dir_all(to)?;
    Ok((Duration::from_secs_f64(seconds), mib, digest))
}

fn unpack_and_make(sandbox: &Sandbox, archive: &Path, folder: &Path) -> Result<Duration> {
    std::fs::create_dir(folder)?;
    let (tree, image) = (folder.join("tree"), folder.join("root.ext4"));
    std::fs::create_dir(&tree)?;
    let begun = Instant::now();
    let at = |path: &Path| path.display().to_string();
    let _ = sandbox.tool("tar", ["-C".to_owned(), at(&tree), "-xpf".into(), at(archive)]).time();
    let lazy = "lazy_itable_init=1,lazy_journal_init=1";
    let words = ["-q", "-t", "ext4", "-E", lazy, "-d", &at(&tree), &at(&image), "40G"].map(str::to_owned);
    let _ = sandbox.tool("mke2fs", words).time();
    let took = begun.elapsed();
    ensure!(image.exists(), "mke2fs made nothing");
    std::fs::remove_dir_all(folder)?;
    Ok(took)
}

/// Of everything in the file that is no hole, and where it is (FNV-1a, eight bytes at a time).
pub(super) fn fingerprint(path: &Path, mut hash: u64) -> Result<u64> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut add = |bytes: &[u8]| {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
    };
    let mut at = 0;
    let mut block = vec![0; 1 << 20];
    while at < length {
        let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else { break };
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start))?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(start))?;
        add(&start.to_le_bytes());
        let mut left = (&file).take(at - start);
        loop {
            match left.read(&mut block)? {
                0 => break,
                got => add(&block[..got]),
            }
        }
    }
    add(&length.to_le_bytes());
    Ok(hash)
}
