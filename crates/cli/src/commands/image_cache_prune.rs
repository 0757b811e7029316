use crate::daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use banger_oci::cache::{BlobCache, Pruned};
use banger_protocol::size::ByteSize;

/// Delete cached image layers
///
/// `banger image cache prune --dry-run` shows what would be deleted. Existing images do not need the cache; it only makes
/// later pulls with `banger image pull` faster. Layers that a running pull uses are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let cache = BlobCache::in_folder(&daemon::paths()?.cache);
        let pruned = cache.prune(self.dry_run).map_err(|error| Failure::of(&error))?;
        printer::line(in_words(pruned, self.dry_run))?;
        Ok(0)
    }
}

fn in_words(pruned: Pruned, dry_run: bool) -> String {
    let Pruned { blobs, bytes, in_use } = pruned;
    let verb = if dry_run { "would remove" } else { "removed" };
    let files = if blobs == 1 { "1 file" } else { &format!("{blobs} files") };
    let kept = if in_use == 0 { String::new() } else { format!("; {in_use} in use stay") };
    format!("{verb} {files}, {}{kept}", ByteSize::bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_and_what_stays_is_told() {
        let pruned = Pruned { blobs: 1, bytes: 1 << 20, in_use: 2 };
        assert_eq!(in_words(pruned, false), "removed 1 file, 1 MiB; 2 in use stay");
        assert_eq!(in_words(Pruned::default(), true), "would remove 0 files, 0 B");
    }
}
