//! A repository on its way into a real guest, next to `rsync` over ssh into the same one.

use crate::figure::{Line, Target, Value};
use crate::samples::milliseconds;
use anyhow::{Context as _, Result};
use banger_e2e::Sandbox;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: usize = 10_000;
/// 100 MiB in all.
const LENGTH: usize = (100 << 20) / FILES;
const CHANGED: usize = 10;
/// Emulated guests take their time.
const LIMIT: Duration = Duration::from_secs(1200);

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_image();
    let root = sandbox.home().join("repo");
    make_repository(&sandbox, &root)?;
    let banger = |words: &[&str]| {
        let begun = Instant::now();
        drop(sandbox.banger(words).limit(LIMIT).run().expect_success());
        begun.elapsed()
    };
    banger(&["vm", "create", "--name", "dev", "--disk-size", "4G"]);
    let path = root.display().to_string();
    let config = sandbox.home().join("ssh_config");
    fs::write(&config, sandbox.banger(["ssh-config"]).run().expect_success().stdout)?;
    let ssh = format!("ssh -F {} -o StrictHostKeyChecking=yes", config.display());

    let first = banger(&["vm", "workspace", "prepare", "dev", &path]);
    let begun = Instant::now();
    let rsync = ["-a", "-e", &ssh, &path, "dev.vm:/root/rsynced/"];
    drop(sandbox.tool("rsync", rsync).limit(LIMIT).run().expect_success());
    let rsync = begun.elapsed();
    for number in 0..CHANGED {
        fs::write(file(&root, number * 997), "changed\n").context("changing a file")?;
    }
    let again = banger(&["vm", "workspace", "prepare", "dev", &path]);
    banger(&["vm", "delete", "dev"]);

    let ms = |time: Duration| Value::Milliseconds(milliseconds(time));
    Ok(vec![
        Line::new("workspace.in", "10,000 files of 100 MiB in", ms(first), Target::AtMostTimes(0.5))
            .against("`rsync -a` over ssh", ms(rsync)),
        Line::new("workspace.again", "10 changed files in", ms(again), Target::AtMostTimes(0.1))
            .against("the first time", ms(first)),
    ])
}

fn file(root: &Path, number: usize) -> std::path::PathBuf {
    root.join(format!("{:02}/{number}", number % 100))
}

/// Committed, of text that can be packed about as well as sources can.
fn make_repository(sandbox: &Sandbox, root: &Path) -> Result<()> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for number in 0..FILES {
        let path = file(root, number);
        fs::create_dir_all(path.parent().context("a file is in a folder")?).context("making a folder")?;
        let mut text = String::with_capacity(LENGTH + 32);
        while text.len() < LENGTH {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("let value = {};\n", state % 1_000_000));
        }
        fs::write(path, text).context("writing a file")?;
    }
    let root = root.display().to_string();
    let git = |words: &[&str]| {
        let words = [&["-C", &root, "-c", "user.name=a", "-c", "user.email=a@b"], words].concat();
        drop(sandbox.tool("git", words).limit(LIMIT).run().expect_success());
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "all"]);
    Ok(())
}
