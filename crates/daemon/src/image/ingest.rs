//! Making an image of layers.

use super::{AGENT_IN_GUEST, Making, make, not_made};
use crate::Services;
use crate::artefact::hexadecimal;
use crate::operation::{Ended, Handle};
use crate::store::ImageRecord;
use banger_image::layer::{Blob, Layer, LayerError, Limits};
use banger_image::rootfs::{self, Inject, Unit};
use banger_image::{Sha256, Watch};
use banger_protocol::daemon_api::image::{ImageView, Ingest, LayerSource, MAX_LAYERS};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Refuses a request whose parts do not fit together.
pub(crate) fn check(request: &Ingest, layers: &[File]) -> Result<(), RpcError> {
    let bad = |message: String| Err(RpcError::new(ErrorKind::BadRequest, message));
    let (told, came) = (request.layers.len(), layers.len());
    if told != came {
        return bad(format!("the request announces {told} layers and carries {came} descriptors"));
    }
    if told == 0 || told > MAX_LAYERS {
        return bad(format!("an image has 1 to {MAX_LAYERS} layers, and this one has {told}"));
    }
    request.config.check().or_else(|error| bad(error.to_string()))
}

/// Makes an image of its layers, as an operation.
pub(crate) async fn ingest(
    services: &Arc<Services>,
    request: Ingest,
    layers: Vec<File>,
    handle: &Handle,
) -> Result<ImageView, Ended> {
    make(services, request.name.clone(), handle, move |making| fill(making, request, &layers)).await
}

fn fill(making: &Making<'_>, request: Ingest, files: &[File]) -> Result<ImageRecord, RpcError> {
    let &Making { services, draft, handle, watch } = making;
    handle.stage("unpack");
    let defaults = rootfs::Options::default();
    let agent = crate::kernel::agent(services).map_err(|e| not_made(&request.name, &e))?;
    let inject = vec![Inject { path: AGENT_IN_GUEST.to_owned(), mode: 0o755, bytes: agent }];
    let size = request.size.map_or(defaults.size, ByteSize::as_bytes);
    let options = rootfs::Options { size, inject, units: vec![agents_unit()], ..defaults };
    let layers = open(&request, files, draft.path(), &options.limits, watch);
    let layers = layers.map_err(|e| not_made(&request.name, &e))?;
    handle.stage("write the file system");
    let facts = rootfs::build(&layers, &options, draft.path(), watch);
    let facts = facts.map_err(|e| not_made(&request.name, &e))?;
    Ok(ImageRecord {
        name: request.name,
        source: request.source,
        kernel: request.kernel,
        digest: Some(hexadecimal(&facts.digest.0)),
        entries: Some(facts.entries),
        has_init: facts.init.is_some(),
        has_sshd: facts.sshd,
        has_agent: true,
        no_agent: false,
        registered: None,
        created: crate::store::now(),
        config: request.config,
    })
}

/// Every layer, compared with its digests and unpacked.
fn open(
    request: &Ingest,
    files: &[File],
    scratch: &Path,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<Vec<Layer>, LayerError> {
    let sources = request.layers.iter().zip(files).enumerate();
    sources
        .map(|(index, (source, file))| {
            let name = layer_name(index, request.layers.len(), source);
            let hash = |digest: banger_protocol::digest::Digest| Sha256(digest.sha256());
            let blob = Blob {
                digest: source.digest.map(hash),
                diff_id: source.diff_id.map(hash),
                ..Blob::new(&name, file, source.offset, source.length)
            };
            Layer::of_blob(&blob, scratch, limits, watch)
        })
        .collect()
}

/// What errors call a layer: its place, and its digest where it has one.
fn layer_name(index: usize, count: usize, source: &LayerSource) -> String {
    match source.digest.or(source.diff_id) {
        Some(digest) => format!("{} of {count} ({digest})", index + 1),
        None => format!("{} of {count}", index + 1),
    }
}

/// Has systemd start the agent that the image carries, in guests that no initrd of banger's has started it in.
///
/// First it does what that initrd would have done, before anything asks for the network or for the keys of sshd.
fn agents_unit() -> Unit {
    let text = format!(
        "[Unit]\n\
         Description=Lets banger reach this guest\n\
         ConditionKernelCommandLine=banger.disks\n\
         ConditionPathExists=!/run/banger/agent\n\
         After=sysinit.target\n\
         Wants=network-pre.target\n\
         Before=network-pre.target ssh.service sshd.service\n\
         \n\
         [Service]\n\
         ExecStartPre=/{AGENT_IN_GUEST} settle-in\n\
         ExecStart=/run/banger/agent\n\
         Restart=on-failure\n\
         KillMode=process\n\
         OOMScoreAdjust=-1000\n"
    );
    Unit { name: "banger-vsock-agent.service", text, wanted_by: "multi-user.target" }
}
