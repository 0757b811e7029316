//! What the user chose, and what came of it.

use super::{pass, row};
use crate::vm::program::Program;
use crate::vm::vmm::Host;
use banger_config::{Config, ConfigError, Source};
use banger_protocol::daemon_api::system::{DoctorRow, SettingRow, SettingSource, Verdict};
use banger_protocol::local_paths::LocalPaths;

/// Whether the file can be used at all.
pub(super) fn file(paths: &LocalPaths, read: &Result<Config, ConfigError>) -> DoctorRow {
    let subject = "settings";
    match read {
        Ok(_) if paths.config.exists() => pass(subject, paths.config.display().to_string()),
        Ok(_) => pass(subject, format!("no {}: all settings have their defaults", paths.config.display())),
        Err(error) => row(Verdict::Fail, subject, error.to_string(), Some(&error.hint())),
    }
}

/// Programs that the file names and that cannot be run.
pub(super) fn programs(host: &Host) -> Vec<DoctorRow> {
    let named = [&host.firecracker, &host.qemu, &host.vsock_backend];
    let hint = "fix that line, or remove it to let banger find the program";
    let wrong = named.into_iter().filter_map(Program::wrong);
    wrong.map(|wrong| row(Verdict::Fail, "settings", wrong.to_string(), Some(hint))).collect()
}

/// Every setting as it is in force.
pub(super) fn list(config: &Config, host: &Host) -> Vec<SettingRow> {
    let found = |key| {
        let program = match key {
            "firecracker_bin" => &host.firecracker,
            "qemu_bin" => &host.qemu,
            "vsock_backend_bin" => &host.vsock_backend,
            _ => return None,
        };
        program.path().map(ToOwned::to_owned)
    };
    let entries = config.entries(found).into_iter();
    let shown = entries.map(|entry| {
        let (source, line) = match entry.source {
            Source::Config { line } => (SettingSource::Config, Some(line as u64)),
            Source::Host => (SettingSource::Host, None),
            Source::BuiltIn => (SettingSource::BuiltIn, None),
        };
        SettingRow { key: entry.key.to_owned(), value: entry.value, source, line }
    });
    shown.collect()
}
