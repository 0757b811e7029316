//! Files of the user's that every guest gets each time it comes up.
//!
//! They are read here, in the user's session, and go to the guest's agent; the daemon never sees them. One that cannot be
//! brought along is told and keeps no other back, and no VM from starting.

use crate::daemon::{self, Daemon};
use crate::failure::Failure;
use crate::guest::{CopyError, Input, copy_in, run_task, write_file};
use crate::printer;
use banger_config::{Config, FileSync};
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::guest_api::Exec;
use banger_protocol::names::VmRef;
use banger_protocol::wire::ConnectionError;
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Longest file; more is no setting.
const LONGEST: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("it leads out of your home")]
    LeadsOut,
    #[error("it is longer than {} MiB", LONGEST >> 20)]
    TooLong,
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("the guest cannot be reached")]
    Connect(#[source] ConnectionError),
    #[error("the guest did not take it")]
    Copy(#[source] CopyError),
}

/// Brings them into a VM that has just come up.
pub(crate) fn sync_files(daemon: &mut Daemon, vm: &VmRef) -> Result<(), Failure> {
    let paths = daemon::paths()?;
    let Some(home) = &paths.home else { return Ok(()) };
    for file in Config::read(&paths)?.file_sync {
        let shown = file.value.host.display();
        if file.value.host.symlink_metadata().is_err() {
            printer::warning(format_args!("{shown} is not there and was not brought along"));
        } else if let Err(error) = sync(daemon, vm, home, &file.value) {
            let why = Failure::of(&error).report.map_or_else(String::new, |report| {
                std::iter::once(report.message).chain(report.causes).collect::<Vec<_>>().join(": ")
            });
            printer::warning(format_args!("{shown} was not brought along: {why}"));
        }
    }
    Ok(())
}

fn sync(daemon: &mut Daemon, vm: &VmRef, home: &Path, file: &FileSync) -> Result<(), SyncError> {
    let real = file.host.canonicalize().map_err(SyncError::Read)?;
    if !real.starts_with(home.canonicalize().map_err(SyncError::Read)?) {
        return Err(SyncError::LeadsOut);
    }
    let mut connect = || {
        let connected = daemon.call_receiving(&Connect { vm: vm.clone() });
        connected.map(|(_, agent)| UnixStream::from(agent)).map_err(SyncError::Connect)
    };
    if let Some((folder, _)) = file.guest.rsplit_once('/') {
        let words = ["mkdir", "-p", "--", folder].map(str::to_owned).to_vec();
        let (env, user) = (BTreeMap::new(), Some("root".to_owned()));
        let make = Exec { argv: words, env, cwd: Some("/".to_owned()), user, terminal: None, stdin: false };
        // What it could not make, the copy will miss.
        let _ = run_task(connect()?, &make, Input::None);
    }
    let guest = file.guest.clone();
    if real.is_dir() {
        return copy_in(&mut connect()?, &real, guest, None).map(drop).map_err(SyncError::Copy);
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(&real).map_err(SyncError::Read)?;
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(SyncError::Read)?;
    if bytes.len() as u64 > LONGEST {
        return Err(SyncError::TooLong);
    }
    write_file(&mut connect()?, guest, file.mode, &bytes).map_err(SyncError::Copy)
}
