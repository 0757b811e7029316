//! Bundles of a catalog, brought here.

use super::Builder;
use super::published::interruptible;
use crate::failure::Failure;
use crate::printer::Part;
use banger_oci::bundle::Bundle;
use banger_oci::cache::BlobCache;
use banger_oci::registry::{Event, Watch};
use banger_protocol::daemon_api::image::LayerSource;
use banger_protocol::local_paths::make_private_folder;
use std::fs::File;

/// The bundle in a file, its digest and its signature compared, and how the daemon is told of it.
pub(super) fn fetch(
    builder: &Builder<'_>,
    bundle: &Bundle,
    what: &str,
) -> Result<(File, LayerSource), Failure> {
    let cache = &builder.paths.cache;
    make_private_folder(cache, rustix::process::geteuid().as_raw()).map_err(|error| Failure::of(&error))?;
    builder.progress.stage("fetching the bundle");
    let tell = |event: Event<'_>| {
        if let Event::Bundle { done, total } = event {
            builder.progress.part(Part { kind: "bundle", index: 0, count: 1, done, total });
        }
    };
    let file = interruptible(builder, |cancel| {
        let watch = Watch { tell: &tell, cancel };
        let fetched = bundle.fetch(what, &BlobCache::in_folder(cache), &watch);
        fetched.map_err(|error| error.hint().into_iter().fold(Failure::of(&error), Failure::with_hint))
    })?;
    let place = LayerSource { offset: 0, length: bundle.size, digest: Some(bundle.sha256), diff_id: None };
    Ok((file, place))
}
