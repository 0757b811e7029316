//! Whether there is room for what is about to be written.

use crate::place::Place;
use crate::tool::Tool;
use anyhow::{Context as _, Result, bail};
use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_said_before_anything_is_written() {
        let place = Place::find().expect("tests run from a target folder");
        assert_eq!(available("     Avail\n4096\n"), Some(4096));
        assert!(expect(&place, Path::new("/"), 1).is_ok());
        let error = expect(&place, Path::new("/"), u64::MAX).expect_err("no disk is that large");
        assert!(error.to_string().ends_with("MiB are needed"), "{error}");
    }
}
