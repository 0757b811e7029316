//! What has to be measured from inside somewhere else: another network namespace, or a process of its own.
//!
//! `banger-bench inside PART …` is started by the lines themselves and by nobody else.

pub(crate) mod boot;
mod dns;

use crate::{emulation, lines};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::BufRead as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The words behind `inside`, if that is what this program was started for.
pub(crate) fn asked() -> Option<Vec<String>> {
    let mut words = std::env::args().skip(1);
    (words.next()? == "inside").then(|| words.collect())
}

pub(crate) fn run(words: &[String]) -> Result<()> {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["taps", bridge] => taps(bridge),
        ["dns", server, count] => dns::dns(server.parse()?, count.parse()?),
        ["work", program] => work(Path::new(program)),
        ["boot", folder] => boot::boot(Path::new(folder)),
        ["image", archive, folder] => image(Path::new(archive), Path::new(folder)),
        _ => bail!("there is no such part to measure"),
    }
}

/// Makes a tap on a bridge by running `ip`, once for each line of input, and says how long it took.
fn taps(bridge: &str) -> Result<()> {
    for (turn, line) in std::io::stdin().lock().lines().enumerate() {
        line.context("waiting for a turn")?;
        let begun = Instant::now();
        ip(&["tuntap", "add", "dev", "bench0", "mode", "tap", "vnet_hdr"])?;
        ip(&["link", "set", "dev", "bench0", "master", bridge, "up"])?;
        let took = begun.elapsed().as_micros();
        ip(&["link", "delete", "dev", "bench0"])?;
        println!("turn {turn} took {took}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "running `ip` is what is measured")]
fn ip(words: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(words).stdin(Stdio::null()).status().context("running ip")?;
    ensure!(status.success(), "`ip {}` failed", words.join(" "));
    Ok(())
}

/// Has one of banger's programs start and end, and prints how many microseconds of processor time that takes.
fn work(program: &Path) -> Result<()> {
    println!("{}", emulation::work_of(program)?.as_micros());
    Ok(())
}

/// Makes an image and prints how many seconds it took and how many MiB this process had at most.
fn image(archive: &Path, folder: &Path) -> Result<()> {
    let begun = Instant::now();
    lines::image(archive, folder)?;
    let took = begun.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").context("reading this process's status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak.and_then(|text| text.split_whitespace().next()?.parse().ok()).context("VmHWM")?;
    println!("{} {}", took.as_secs_f64(), kib / 1024.0);
    Ok(())
}
