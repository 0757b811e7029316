//! What a VM takes of the host, looked up now.

use super::state::Running;
use super::vmm::VmmName;
use super::{folder, view};
use crate::Services;
use banger_firecracker::Metrics;
use banger_protocol::daemon_api::vm::{IoRates, RunningStats, VmStats};
use banger_protocol::ids::VmId;
use banger_protocol::names::VmRef;
use banger_protocol::root_api::FIRECRACKER_METRICS;
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
        io: match running.vmm_name {
            VmmName::Firecracker => of_last_minute(&services.state.vm(id)),
            VmmName::Qemu => None,
        },
    })
}

/// Two lines of Firecracker's counters, each some 10 KiB.
const METRICS: u64 = 64 << 10;

/// As its VMM has written them down. Nobody is asked, so that one that does not answer keeps nobody waiting.
fn of_last_minute(folder: &Path) -> Option<IoRates> {
    io_rates(&folder::end_of(folder, FIRECRACKER_METRICS, METRICS).ok()?)
}

/// The counters of the last whole line, over the time since the one before it. Pure.
fn io_rates(metrics: &[u8]) -> Option<IoRates> {
    let mut lines = metrics.split(|byte| *byte == b'\n').rev().filter_map(Metrics::parse);
    let (last, before) = (lines.next()?, lines.next()?);
    let passed_ms = last.at_ms.checked_sub(before.at_ms).filter(|passed| *passed > 0)?;
    let rate = |bytes: u64| {
        let rate = u128::from(bytes) * 1000 / u128::from(passed_ms);
        ByteSize::bytes(u64::try_from(rate).unwrap_or(u64::MAX))
    };
    Some(IoRates {
        disk_read: rate(last.disk_read),
        disk_written: rate(last.disk_written),
        net_received: rate(last.net_received),
        net_sent: rate(last.net_sent),
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

    fn line(at_ms: u64, bytes: u64) -> String {
        format!(
            r#"{{"utc_timestamp_ms":{at_ms},"block":{{"read_bytes":{bytes},"write_bytes":1}},"net":{{"rx_bytes_count":0,"tx_bytes_count":{bytes}}}}}"#
        )
    }

    #[test]
    fn what_went_through_its_devices_is_told_by_the_second_from_two_lines_on() {
        let [first, second, half] =
            [line(1000, 5), line(61_000, 6_000_000), line(121_000, 7)[..40].to_owned()];
        assert_eq!(io_rates(b""), None);
        assert_eq!(io_rates(first.as_bytes()), None);
        let text = format!("{first}\n{second}\n{half}");
        let expected = |disk_written| IoRates {
            disk_read: ByteSize::bytes(100_000),
            disk_written: ByteSize::bytes(disk_written),
            net_received: ByteSize::bytes(0),
            net_sent: ByteSize::bytes(100_000),
        };
        assert_eq!(io_rates(text.as_bytes()), Some(expected(0)), "a line that is being written is none yet");
        let cut_off = &text.as_bytes()[3..];
        assert_eq!(io_rates(cut_off), None, "nobody knows over which time");
    }

    #[test]
    fn a_vmm_that_a_guest_took_over_may_have_written_anything() {
        let most = u64::MAX;
        for text in [
            format!("{}\n{}\n", line(5, 1), line(5, 1)),
            format!("{}\n{}\n", line(9, 1), line(5, 1)),
            "\n\n\n".to_owned(),
        ] {
            assert_eq!(io_rates(text.as_bytes()), None, "{text}");
        }
        let rates = io_rates(format!("{}\n{}\n", line(0, 1), line(1, most)).as_bytes());
        assert_eq!(rates.map(|rates| rates.disk_read), Some(ByteSize::bytes(most)));
    }

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
