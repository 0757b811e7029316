//! The counters, of which there are only those that banger reads, and to which nothing is ever added.

use super::machine::open_output;
use serde_json::json;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

/// Where they go, if anywhere.
#[derive(Debug, Default)]
pub(super) struct Metrics(Option<File>);

impl Metrics {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        path.map(open_output).transpose().map(Self)
    }

    pub(super) fn write_line(&mut self) {
        let Some(file) = &mut self.0 else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = json!({
            "utc_timestamp_ms": u64::try_from(now.as_millis()).unwrap_or_default(),
            "block": {"read_bytes": 0, "write_bytes": 0},
            "net": {"rx_bytes_count": 0, "tx_bytes_count": 0},
        });
        // One that cannot be written is missed.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
