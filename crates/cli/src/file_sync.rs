//! What of the user's own every guest gets each time it comes up: files, and who commits.
//!
//! It is read here, in the user's session. Small texts are handed over to the daemon before a start and are on the guest's
//! config drive; what is larger, or no text, goes to the guest's agent when that is up. One that cannot be brought along is
//! told and keeps no other back, and no VM from starting.

use crate::daemon::{self, Daemon};
use crate::failure::Failure;
use crate::git::Git;
use crate::git::inspect::global_identity;
use crate::guest::{CopyError, Input, copy_in, read_file, remove, run_task, write_file};
use crate::printer;
use banger_config::{Config, FileSync};
use banger_protocol::daemon_api::personal::{File, GitIdentity, LONGEST_TEXT, MOST_FILES, MOST_TEXT, Set};
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::guest_api::Exec;
use banger_protocol::names::VmRef;
use banger_protocol::wire::ConnectionError;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
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

/// What the agent gives folders that it makes for files of the config drive.
const FOLDER_MODE: u32 = 0o755;

/// Where in root's home everything is.
const HOME: &str = "/root/";

/// Where a guest keeps which files came to it here, below root's home and each with a NUL behind it. What the config drive
/// brings, the agent looks after.
const BROUGHT: &str = "/var/lib/banger/synced-files";

/// Longest such list.
const LONGEST_LIST: usize = 16 << 20;

/// What is left to be brought into a VM when it is up.
#[derive(Debug)]
pub(crate) struct Later {
    files: Vec<(PathBuf, FileSync)>,
    /// What was handed over, below root's home.
    given: BTreeSet<Vec<u8>>,
}

/// Hands over what fits a config drive; the rest is for [`sync_files`]. To be called before every start.
pub(crate) fn hand_over(daemon: &mut Daemon) -> Result<Later, Failure> {
    let paths = daemon::paths()?;
    let Some(home) = &paths.home else { return Ok(Later { files: Vec::new(), given: BTreeSet::new() }) };
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
    let given = given.files.into_iter().map(|file| file.path.into_bytes()).collect();
    Ok(Later { files: later, given })
}

fn fits(given: &[File], more: &[File]) -> bool {
    let all = || given.iter().chain(more);
    all().count() <= MOST_FILES && all().map(|file| file.text.len()).sum::<usize>() <= MOST_TEXT
}

/// Brings the rest into a VM that has come up for the first time.
pub(crate) fn sync_files(daemon: &mut Daemon, vm: &VmRef, later: &Later) {
    if !later.files.is_empty() {
        sync_files_again(daemon, vm, later);
    }
}

/// Brings the rest into a VM that has come up, and removes what came to it so and is named no longer.
pub(crate) fn sync_files_again(daemon: &mut Daemon, vm: &VmRef, later: &Later) {
    if let Err(error) = take_back(daemon, vm, later) {
        let why = in_one_line(&error);
        printer::warning(format_args!("files that `file_sync` no longer names may be left in the VM: {why}"));
    }
    for (real, file) in &later.files {
        if let Err(error) = sync(daemon, vm, real, file) {
            not_brought(file, &error);
        }
    }
}

/// Removes files that came here and will not again, and remembers those that will.
fn take_back(daemon: &mut Daemon, vm: &VmRef, later: &Later) -> Result<(), SyncError> {
    let mut connect = || connect(daemon, vm);
    let listed = read_file(&mut connect()?, BROUGHT.to_owned(), LONGEST_LIST).map_err(SyncError::Copy)?;
    let listed = listed.unwrap_or_default();
    let before: BTreeSet<&[u8]> = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    let mut now = BTreeSet::new();
    for (real, file) in &later.files {
        now.extend(brought(real, file).map_err(SyncError::Read)?);
    }
    let gone: Vec<&[u8]> =
        before.iter().copied().filter(|path| !now.contains(*path) && !later.given.contains(*path)).collect();
    if !gone.is_empty() {
        remove(&mut connect()?, HOME.to_owned(), &gone).map_err(SyncError::Copy)?;
    }
    if now.iter().map(Vec::as_slice).ne(before.iter().copied()) {
        make_folder(connect()?, BROUGHT);
        let list: Vec<u8> = now.into_iter().flat_map(|path| [path, vec![0]].concat()).collect();
        write_file(&mut connect()?, BROUGHT.to_owned(), 0o600, &list).map_err(SyncError::Copy)?;
    }
    Ok(())
}

/// The files that come of it, below root's home.
fn brought(real: &Path, file: &FileSync) -> io::Result<Vec<Vec<u8>>> {
    let guest = file.guest.strip_prefix(HOME).unwrap_or_default().as_bytes().to_vec();
    let (mut files, mut waiting) = (Vec::new(), vec![(real.to_owned(), guest)]);
    while let Some((host, guest)) = waiting.pop() {
        if host != real && host.is_symlink() || !host.is_dir() {
            files.push(guest);
            continue;
        }
        for entry in std::fs::read_dir(&host)? {
            let entry = entry?;
            waiting.push((entry.path(), [&guest, &b"/"[..], entry.file_name().as_bytes()].concat()));
        }
    }
    Ok(files)
}

fn in_one_line(error: &SyncError) -> String {
    Failure::of(error).report.map_or_else(String::new, |report| {
        std::iter::once(report.message).chain(report.causes).collect::<Vec<_>>().join(": ")
    })
}

fn not_brought(file: &FileSync, error: &SyncError) {
    printer::warning(format_args!("{} was not copied: {}", file.host.display(), in_one_line(error)));
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

/// It, or the files in it, as texts; `None` where that cannot be said, or is not all: the config drive knows files, and the
/// agent makes the folders they need, as anybody may read them.
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
        let mode = folder.metadata().map_err(SyncError::Read)?.permissions().mode();
        let mut entries = std::fs::read_dir(&folder).map_err(SyncError::Read)?.peekable();
        if mode & 0o7777 != FOLDER_MODE || entries.peek().is_none() {
            return Ok(None);
        }
        for entry in entries {
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

fn connect(daemon: &mut Daemon, vm: &VmRef) -> Result<UnixStream, SyncError> {
    let connected = daemon.call_receiving(&Connect { vm: vm.clone() });
    connected.map(|(_, agent)| UnixStream::from(agent)).map_err(SyncError::Connect)
}

/// Makes the folder of a file.
fn make_folder(agent: UnixStream, file: &str) {
    if let Some((folder, _)) = file.rsplit_once('/') {
        let words = ["mkdir", "-p", "--", folder].map(str::to_owned).to_vec();
        let (env, user) = (BTreeMap::new(), Some("root".to_owned()));
        let make = Exec { argv: words, env, cwd: Some("/".to_owned()), user, terminal: None, stdin: false };
        // What it could not make, the copy will miss.
        let _ = run_task(agent, &make, Input::None);
    }
}

fn sync(daemon: &mut Daemon, vm: &VmRef, real: &Path, file: &FileSync) -> Result<(), SyncError> {
    let mut connect = || connect(daemon, vm);
    make_folder(connect()?, &file.guest);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};

    #[test]
    fn a_folder_is_on_the_config_drive_only_if_it_can_be_what_it_is_here() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("keys");
        create_dir(&folder).unwrap();
        write(folder.join("ring"), "a key\n").unwrap();
        let file = FileSync { host: folder.clone(), guest: "/root/.keys".to_owned(), mode: 0o600 };
        let is_small = |mode: u32| {
            set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            small(&folder, &file).unwrap().is_some()
        };
        assert!(is_small(0o755));
        assert!(!is_small(0o700), "the guest would have it open for everybody");
        assert!(is_small(0o755));
        create_dir(folder.join("empty")).unwrap();
        assert!(!is_small(0o755), "the guest would not have the empty folder");
    }
}
