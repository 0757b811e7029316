//! What a VM takes of the host, looked up now.

use super::state::Running;
use super::view;
use crate::Services;
use banger_protocol::daemon_api::vm::{RunningStats, VmStats};
use banger_protocol::ids::VmId;
use banger_protocol::names::VmRef;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::RpcError;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) fn stats(services: &Services, reference: &VmRef) -> Result<VmStats, RpcError> {
    let vm = view::look_up(services, reference)?;
    Ok(VmStats {
        disk: ByteSize::bytes(disk_usage(&services.state.vm(&vm.id))),
        running: vm.state.running().and_then(|running| of_running(services, &vm.id, running)),
        state: vm.state.name(),
        id: vm.id,
        name: vm.name,
    })
}

/// `None` when it has just ended.
fn of_running(services: &Services, id: &VmId, running: &Running) -> Option<RunningStats> {
    let usage = crate::process::usage(running.vmm)?;
    let since = OffsetDateTime::parse(&running.since, &Rfc3339).ok();
    let uptime = since.map_or(0, |since| (OffsetDateTime::now_utc() - since).whole_milliseconds());
    Some(RunningStats {
        cpu_percent: services.activity.cpu_percent(id),
        cpu_ms: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
        memory: ByteSize::bytes(usage.resident),
        uptime_ms: u64::try_from(uptime).unwrap_or(0),
    })
}

/// What the files in a folder take on the disk, holes not counted. Links are not followed.
fn disk_usage(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    // st_blocks counts 512 bytes each, whatever the file system's own are (inode(7)).
    entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_hole_takes_no_space() {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("disk")).unwrap().set_len(1 << 40).unwrap();
        std::fs::write(folder.path().join("log"), vec![b'x'; 100_000]).unwrap();
        let used = disk_usage(folder.path());
        assert!((100_000..1_000_000).contains(&used), "{used}");
        assert_eq!(disk_usage(Path::new("/no/such/folder")), 0);
    }
}
