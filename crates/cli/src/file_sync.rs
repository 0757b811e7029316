//! What of the user's own every guest gets each time it comes up: files, and who commits.
//!
//! It is read here, in the user's session. Small texts are handed over to the daemon before a start and are on the guest's
//! config drive; what is larger, or no text, goes to the guest's agent when that is up. One that cannot be brought along is
//! told and keeps no other back, and no VM from starting.

use crate::daemon::{self, Daemon};
use crate::failure::Failure;
use crate::git::Git;
use crate::git::inspect::global_identity;
use crate::guest::{CopyError, Input, copy_in, run_task, write_file};
use crate::printer;
use banger_config::{Config, FileSync};
use banger_protocol::daemon_api::personal::{File, GitIdentity, LONGEST_TEXT, MOST_FILES, MOST_TEXT, Set};
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::guest_api::Exec;
use banger_protocol::names::VmRef;
use banger_protocol::wire::ConnectionError;
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Longest file; more is no setting.
const LONGEST: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("it leads outside your home directory")]
    LeadsOut,
    #[error("it is longer than {} MiB", LONGEST >> 20)]
    TooLong,
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("the guest cannot be reached")]
    Connect(#[source] ConnectionError),
    #[error("the guest did not accept it")]
    Copy(#[source] CopyError),
}

/// What is left to be brought into a VM when it is up.
#[derive(Debug)]
pub(crate) struct Later(Vec<(PathBuf, FileSync)>);

/// Hands over what fits a config drive; the rest is for [`sync_files`]. To be called before every start.
pub(crate) fn hand_over(daemon: &mut Daemon) -> Result<Later, Failure> {
    let paths = daemon::paths()?;
    let Some(home) = &paths.home else { return Ok(Later(Vec::new())) };
    let mut given = Set { files: Vec::new(), git: git_identity(home) };
    let mut later = Vec::new();
    for file in Config::read(&paths)?.file_sync {
        let file = file.value;
        if file.host.symlink_metadata().is_err() {
            printer::warning(format_args!("{} does not exist and was not copied", file.host.display()));
            continue;
        }
        match real(home, &file).and_then(|real| Ok((small(&real, &file)?, real))) {
            Ok((Some(small), _)) if fits(&given.files, &small) => given.files.extend(small),
            Ok((_, real)) => later.push((real, file)),
            Err(error) => not_brought(&file, &error),
        }
    }
    daemon.call(&given)?;
    Ok(Later(later))
}

fn fits(given: &[File], more: &[File]) -> bool {
    let all = || given.iter().chain(more);
    all().count() <= MOST_FILES && all().map(|file| file.text.len()).sum::<usize>() <= MOST_TEXT
}

/// Brings the rest into a VM that has just come up.
pub(crate) fn sync_files(daemon: &mut Daemon, vm: &VmRef, later: &Later) {
    for (real, file) in &later.0 {
        if let Err(error) = sync(daemon, vm, real, file) {
            not_brought(file, &error);
        }
    }
}

fn not_brought(file: &FileSync, error: &SyncError) {
    let why = Failure::of(error).report.map_or_else(String::new, |report| {
        std::iter::once(report.message).chain(report.causes).collect::<Vec<_>>().join(": ")
    });
    printer::warning(format_args!("{} was not copied: {why}", file.host.display()));
}

/// The user's own, as given for every repository. A host without git, or one that does not say, has none.
fn git_identity(home: &Path) -> Option<GitIdentity> {
    let settings = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    let is_said = home.join(".gitconfig").exists() || settings.join("git/config").exists();
    let identity = is_said.then(|| global_identity(&Git::at(home).ok()?).ok()).flatten()?;
    let is_empty = identity.name.is_none() && identity.email.is_none();
    (!is_empty).then_some(GitIdentity { name: identity.name, email: identity.email })
}

/// Where a file of the user's really is: below the home, wherever links lead.
fn real(home: &Path, file: &FileSync) -> Result<PathBuf, SyncError> {
    let real = file.host.canonicalize().map_err(SyncError::Read)?;
    let is_inside = real.starts_with(home.canonicalize().map_err(SyncError::Read)?);
    if is_inside { Ok(real) } else { Err(SyncError::LeadsOut) }
}

/// It, or the files in it, as texts; `None` where that cannot be said.
fn small(real: &Path, file: &FileSync) -> Result<Option<Vec<File>>, SyncError> {
    let guest = file.guest.strip_prefix("/root/").unwrap_or_default().to_owned();
    if !real.is_dir() {
        let text = text(real)?;
        return Ok(text
            .map(|text| vec![File { path: guest, mode: file.mode, text }])
            .filter(|files| can_be(files)));
    }
    let (mut files, mut waiting) = (Vec::new(), vec![(real.to_owned(), guest)]);
    while let Some((folder, guest)) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).map_err(SyncError::Read)? {
            let entry = entry.map_err(SyncError::Read)?;
            let about = entry.metadata().map_err(SyncError::Read)?;
            let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
            let guest = format!("{guest}/{name}");
            if about.is_dir() {
                waiting.push((entry.path(), guest));
            } else if about.is_file() && files.len() < MOST_FILES {
                let Some(text) = text(&entry.path())? else { return Ok(None) };
                files.push(File { path: guest, mode: about.permissions().mode() & 0o777, text });
            } else {
                return Ok(None);
            }
        }
    }
    Ok(Some(files).filter(|files| can_be(files)))
}

fn can_be(files: &[File]) -> bool {
    files.iter().all(|file| file.complaint().is_none())
}

/// A file's text, if it is one and not long.
fn text(path: &Path) -> Result<Option<String>, SyncError> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(SyncError::Read)?;
    opened.take(LONGEST_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(SyncError::Read)?;
    Ok(String::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST_TEXT))
}

fn sync(daemon: &mut Daemon, vm: &VmRef, real: &Path, file: &FileSync) -> Result<(), SyncError> {
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
        return copy_in(&mut connect()?, real, guest, None).map(drop).map_err(SyncError::Copy);
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(real).map_err(SyncError::Read)?;
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(SyncError::Read)?;
    if bytes.len() as u64 > LONGEST {
        return Err(SyncError::TooLong);
    }
    write_file(&mut connect()?, guest, file.mode, &bytes).map_err(SyncError::Copy)
}
