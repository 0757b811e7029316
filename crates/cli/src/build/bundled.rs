//! Bundles of a catalogue, brought here.

use super::Builder;
use super::published::interruptible;
use crate::failure::Failure;
use banger_oci::bundle::Bundle;
use banger_oci::registry::Watch;
use banger_protocol::daemon_api::image::LayerSource;
use banger_protocol::local_paths::make_private_folder;
use std::fs::File;

/// The bundle in a file, its digest and its signature compared, and how the daemon is told of it.
pub(super) fn fetch(
    builder: &Builder<'_>,
    bundle: &Bundle,
    what: &str,
) -> Result<(File, LayerSource), Failure> {
    let scratch = &builder.paths.cache;
    make_private_folder(scratch, rustix::process::geteuid().as_raw()).map_err(|error| Failure::of(&error))?;
    builder.progress.stage("fetching the bundle");
    let progress = |done, total| builder.progress.bytes("fetching the bundle", done, total);
    let file = interruptible(builder, |cancel| {
        let fetched = bundle.fetch(what, scratch, &Watch { progress: &progress, cancel });
        fetched.map_err(|error| error.hint().into_iter().fold(Failure::of(&error), Failure::with_hint))
    })?;
    let place = LayerSource { offset: 0, length: bundle.size, digest: Some(bundle.sha256), diff_id: None };
    Ok((file, place))
}
