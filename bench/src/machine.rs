//! The machine that was measured on, in one line: figures without it mean nothing.

use crate::figure::Line;
use serde_json::{Value, json};

pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = after_colon(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown processor".into());
    let memory = after_colon(&read("/proc/meminfo"), "MemTotal").unwrap_or("unknown".into());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("machine: {processors} × {processor}, {memory} memory, Linux {}, load {load}", kernel.trim())
}

/// The whole report for programs.
pub(crate) fn report(lines: &[Line]) -> Value {
    let line = |line: &Line| {
        let mut value = json!(line);
        value["met"] = json!(line.figure().map(|figure| figure.is_met()));
        value["ratio"] = json!(line.figure().and_then(|figure| figure.ratio()));
        value
    };
    json!({ "machine": describe(), "lines": lines.iter().map(line).collect::<Vec<_>>() })
}
