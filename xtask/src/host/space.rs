//! Whether there is room: for what is about to be written, and for hosts beside each other.

use super::machine::Size;
use crate::place::Place;
use crate::tool::Tool;
use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// What QEMU takes beside its guest's memory, and what the rest of the machine should keep.
const BESIDE_MIB: u64 = 1024;

/// Fails when the file system of `folder` has less than `needed` bytes left.
pub(super) fn expect(place: &Place, folder: &Path, needed: u64) -> Result<()> {
    let printed =
        Tool::find(place, "df")?.args(["--output=avail", "--block-size=1", "--"]).args([folder]).output()?;
    let left = available(&printed).with_context(|| format!("`df` said nothing of {}", folder.display()))?;
    if left < needed {
        bail!("{} has {} MiB left, and {} MiB are needed", folder.display(), left >> 20, needed >> 20);
    }
    Ok(())
}

/// The figure below the heading.
fn available(printed: &str) -> Option<u64> {
    printed.lines().nth(1)?.trim().parse().ok()
}

/// How many hosts of a size this machine carries without any of them waiting for another's processor or for memory.
pub(super) fn hosts_that_fit(size: Size) -> Result<usize> {
    let processors = std::thread::available_parallelism().context("counting this machine's processors")?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("reading how much memory there is")?;
    let free = free_mib(&meminfo).context("the kernel does not say how much memory there is")?;
    let by_memory = free / (u64::from(size.memory_mib) + BESIDE_MIB);
    let by_processors = processors.get() / usize::try_from(size.processors)?;
    Ok(by_processors.min(usize::try_from(by_memory)?))
}

/// The figure in `MemAvailable:   22912345 kB` of `/proc/meminfo`.
fn free_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_hosts_fit_as_there_is_memory_and_processors_for() {
        assert_eq!(free_mib("MemTotal:       24576000 kB\nMemAvailable:   22528000 kB\n"), Some(22000));
        assert_eq!(free_mib("MemTotal: 1 kB\n"), None);
        let size = |memory_mib, processors| Size { memory_mib, processors, user_namespaces: true };
        let fits = |size| hosts_that_fit(size).expect("this machine tells");
        assert_eq!(fits(size(u32::MAX, 1)), 0);
        assert_eq!(fits(size(0, 1024)), 0);
        assert!(fits(size(0, 1)) >= 1);
    }

    #[test]
    fn too_little_space_is_said_before_anything_is_written() {
        let place = Place::find().expect("tests run from a target folder");
        assert_eq!(available("     Avail\n4096\n"), Some(4096));
        assert!(expect(&place, Path::new("/"), 1).is_ok());
        let error = expect(&place, Path::new("/"), u64::MAX).expect_err("no disk is that large");
        assert!(error.to_string().ends_with("MiB are needed"), "{error}");
    }
}
