//! What Firecracker writes of its devices to the file that `--metrics-path` names; pure.
//!
//! A line when the machine starts, one every minute after that, and one when [`crate::Client::flush_metrics`] asks: an
//! object of some hundred counters, each of them what has come since the line before. banger looks at four of them.
//! Their sums over all devices of a kind are called `block` and `net`.

use serde::Deserialize;

/// What went through a machine's devices between a line and the one before it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    pub disk_read: u64,
    pub disk_written: u64,
    /// By the guest.
    pub net_received: u64,
    pub net_sent: u64,
}

#[derive(Deserialize)]
struct Line {
    utc_timestamp_ms: u64,
    block: Block,
    net: Net,
}

#[derive(Deserialize)]
struct Block {
    read_bytes: u64,
    write_bytes: u64,
}

#[derive(Deserialize)]
struct Net {
    rx_bytes_count: u64,
    tx_bytes_count: u64,
}

impl Metrics {
    /// Reads a line; `None` when it is none, such as one that is still being written.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let Line { utc_timestamp_ms, block, net } = serde_json::from_slice(line).ok()?;
        Some(Self {
            at_ms: utc_timestamp_ms,
            disk_read: block.read_bytes,
            disk_written: block.write_bytes,
            net_received: net.rx_bytes_count,
            net_sent: net.tx_bytes_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_counters_of_a_line_are_read_and_the_others_passed_over() {
        let line = br#"{"utc_timestamp_ms":1700000060000,"api_server":{"process_startup_time_us":9},
            "block":{"read_bytes":4096,"write_bytes":512,"flush_count":3},"block_work":{"read_bytes":1,"write_bytes":2},
            "net":{"rx_bytes_count":70,"tx_bytes_count":80}}"#;
        let read = Metrics {
            at_ms: 1_700_000_060_000,
            disk_read: 4096,
            disk_written: 512,
            net_received: 70,
            net_sent: 80,
        };
        assert_eq!(Metrics::parse(line), Some(read));
        for broken in [&line[..line.len() - 9], b"", b"{}", b"null", b"\xff"] {
            assert_eq!(Metrics::parse(broken), None);
        }
    }
}
