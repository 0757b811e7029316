//! The config drive: who this guest is, and the files it is to have.
//!
//! The archive comes from the host and is believed; the file system it is laid into was written by the guest and
//! is not ([`super::lay`]). A file that cannot be laid down there is the guest's own doing and no reason not to
//! boot: it is named on the console.

use super::lay::Tree;
use banger_protocol::guest_api::config_drive::{
    APPLIED_LIST, CONFIG_ENTRY, GIT_CONFIG, GIT_CONFIG_LAID, GIT_CONFIG_MARK, GuestConfig, MAX_SIZE,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const LIST_MODE: u32 = 0o600;

/// Why the guest does not know who it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("the config drive {} cannot be read", .0.display())]
    Open(PathBuf, #[source] io::Error),
    #[error("the config drive is not an archive")]
    Archive(#[source] io::Error),
    #[error("the config drive does not begin with {CONFIG_ENTRY}")]
    NoConfig,
    #[error("{CONFIG_ENTRY} is not understood")]
    BadConfig(#[source] serde_json::Error),
    #[error("{0} on the config drive is not a regular file")]
    NotAFile(String),
    #[error("a name on the config drive is not UTF-8")]
    Name(#[source] std::str::Utf8Error),
    #[error("the new root {} cannot be opened", .0.display())]
    Root(PathBuf, #[source] io::Error),
    #[error("the hostname cannot be set")]
    Hostname(#[source] rustix::io::Errno),
}

#[derive(Debug, PartialEq, Eq)]
struct Drive {
    config: GuestConfig,
    files: Vec<Entry>,
}

/// A file to lay down, at a path relative to the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// Gives the guest whose root is at `new_root` the identity on `disk`; returns what else it says.
pub(super) fn apply(disk: &Path, new_root: &Path) -> Result<GuestConfig, ConfigError> {
    let file = File::open(disk).map_err(|e| ConfigError::Open(disk.to_owned(), e))?;
    let drive = read(file)?;
    rustix::system::sethostname(drive.config.hostname.as_bytes()).map_err(ConfigError::Hostname)?;
    let tree = Tree::open(new_root).map_err(|e| ConfigError::Root(new_root.to_owned(), e))?;
    for complaint in lay_down(&tree, &drive.files) {
        super::kernel_log(&complaint);
    }
    Ok(drive.config)
}

fn read(from: impl Read) -> Result<Drive, ConfigError> {
    let mut archive = tar::Archive::new(from.take(MAX_SIZE));
    let mut config = None;
    let mut files = Vec::new();
    for entry in archive.entries().map_err(ConfigError::Archive)? {
        let mut entry = entry.map_err(ConfigError::Archive)?;
        let path = str::from_utf8(&entry.path_bytes()).map_err(ConfigError::Name)?.to_owned();
        if !entry.header().entry_type().is_file() {
            return Err(ConfigError::NotAFile(path));
        }
        let mode = entry.header().mode().map_err(ConfigError::Archive)? & 0o7777;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(ConfigError::Archive)?;
        if config.is_some() {
            files.push(Entry { path, mode, content });
        } else if path == CONFIG_ENTRY {
            config = Some(serde_json::from_slice(&content).map_err(ConfigError::BadConfig)?);
        } else {
            return Err(ConfigError::NoConfig);
        }
    }
    Ok(Drive { config: config.ok_or(ConfigError::NoConfig)?, files })
}

/// Lays the files down, removes what the drive of an earlier start brought and this one does not, and remembers
/// what there is now. Returns what could not be done.
fn lay_down(tree: &Tree, files: &[Entry]) -> Vec<String> {
    let list = APPLIED_LIST.trim_start_matches('/');
    let before = tree.read(list).unwrap_or_default();
    let before: BTreeSet<&str> = before.lines().collect();
    let now: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut complaints = Vec::new();

    // Whatever happens below, a later start knows all that may be there.
    let all: BTreeSet<&str> = before.union(&now).copied().collect();
    if all != before {
        complaints.extend(write_list(tree, list, &all));
    }
    for file in files {
        if is_ours(file) {
            if is_the_guests_own(tree) {
                continue;
            }
            let laid = GIT_CONFIG_LAID.trim_start_matches('/');
            if let Err(e) = tree.put(laid, LIST_MODE, &file.content) {
                complaints.push(format!("copy of {} not written: {e}", file.path));
            }
        }
        if let Err(e) = tree.put(&file.path, file.mode, &file.content) {
            complaints.push(format!("config file {} not written: {e}", file.path));
        }
    }
    let mut left = now.clone();
    for gone in before.difference(&now) {
        if *gone == GIT_CONFIG && is_the_guests_own(tree) {
            continue;
        }
        if let Err(e) = tree.remove(gone) {
            complaints.push(format!("former config file {gone} not removed: {e}"));
            left.insert(gone);
        }
    }
    if left != all {
        complaints.extend(write_list(tree, list, &left));
    }
    complaints
}

/// Whether a file is one that gives way to the guest's own.
fn is_ours(file: &Entry) -> bool {
    file.path == GIT_CONFIG && file.content.starts_with(GIT_CONFIG_MARK.as_bytes())
}

/// Whether the guest's settings for git are something else than a former drive laid down.
fn is_the_guests_own(tree: &Tree) -> bool {
    match tree.read(GIT_CONFIG) {
        Ok(now) => tree.read(GIT_CONFIG_LAID.trim_start_matches('/')).ok().as_ref() != Some(&now),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn write_list(tree: &Tree, list: &str, paths: &BTreeSet<&str>) -> Option<String> {
    let text: String = paths.iter().map(|path| format!("{path}\n")).collect();
    let failure = tree.put(list, LIST_MODE, text.as_bytes()).err()?;
    Some(format!("list of config files not written: {failure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        r#"{"hostname":"demo","network":{"address":"172.16.0.2","prefix":24,"gateway":"172.16.0.1"}}"#;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            // Not set_path, which refuses the hostile ones.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o640);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn entry(path: &str, content: &str) -> Entry {
        Entry { path: path.to_owned(), mode: 0o640, content: content.into() }
    }

    #[test]
    fn the_first_entry_is_the_config_and_the_rest_are_files() {
        let file = tar::EntryType::Regular;
        let mut bytes = archive(&[(CONFIG_ENTRY, file, CONFIG), ("etc/hostname", file, "demo\n")]);
        bytes.resize(64 * 1024, 0);
        let drive = read(bytes.as_slice()).unwrap();
        assert_eq!(drive.config.hostname, "demo");
        assert_eq!(drive.config.network.unwrap().prefix, 24);
        assert_eq!(drive.files, [entry("etc/hostname", "demo\n")]);
    }

    #[test]
    fn a_drive_that_is_not_what_the_host_writes_is_refused() {
        let file = tar::EntryType::Regular;
        assert!(matches!(read([0; 1024].as_slice()), Err(ConfigError::NoConfig)));
        let first = archive(&[("etc/hostname", file, "x"), (CONFIG_ENTRY, file, CONFIG)]);
        assert!(matches!(read(first.as_slice()), Err(ConfigError::NoConfig)));
        let unknown = archive(&[(CONFIG_ENTRY, file, r#"{"hostname":"x","network":null,"more":1}"#)]);
        assert!(matches!(read(unknown.as_slice()), Err(ConfigError::BadConfig(_))));
        let link = archive(&[(CONFIG_ENTRY, file, CONFIG), ("etc/passwd", tar::EntryType::Symlink, "")]);
        assert!(matches!(read(link.as_slice()), Err(ConfigError::NotAFile(_))));
        let cut = archive(&[(CONFIG_ENTRY, file, CONFIG)]);
        assert!(read(&cut[..600]).is_err());
    }

    #[test]
    fn what_a_former_drive_brought_and_this_one_lacks_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let none: [String; 0] = [];
        assert_eq!(lay_down(&tree, &[entry("etc/a", "1"), entry("etc/b", "1")]), none);
        std::fs::write(root.path().join("etc/own"), "the guest's").unwrap();
        assert_eq!(lay_down(&tree, &[entry("etc/b", "2"), entry("etc/c", "2")]), none);
        let there = |name: &str| std::fs::read_to_string(root.path().join("etc").join(name)).ok();
        assert_eq!(there("a"), None);
        assert_eq!(there("b").as_deref(), Some("2"));
        assert_eq!(there("c").as_deref(), Some("2"));
        assert_eq!(there("own").as_deref(), Some("the guest's"));
    }

    #[test]
    fn who_commits_is_refreshed_until_the_guest_says_so_itself() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let none: [String; 0] = [];
        let ours = |name: &str| entry(GIT_CONFIG, &format!("{GIT_CONFIG_MARK}\n[user]\n\tname = {name}\n"));
        let there = || std::fs::read_to_string(root.path().join(GIT_CONFIG)).ok();
        for name in ["ada", "bob"] {
            assert_eq!(lay_down(&tree, &[ours(name)]), none);
            assert!(there().unwrap().contains(name));
        }
        assert_eq!(lay_down(&tree, &[]), none);
        assert_eq!(there(), None);
        lay_down(&tree, &[ours("ada")]);
        std::fs::write(root.path().join(GIT_CONFIG), format!("{}[alias]\n", there().unwrap())).unwrap();
        for drive in [&[ours("bob")][..], &[]] {
            assert_eq!(lay_down(&tree, drive), none);
            assert!(there().unwrap().ends_with("name = ada\n[alias]\n"));
        }
        // What the user named as a file is laid down as every other.
        assert_eq!(lay_down(&tree, &[entry(GIT_CONFIG, "[user]\n")]), none);
        assert_eq!(there().as_deref(), Some("[user]\n"));
    }

    #[test]
    fn a_file_that_cannot_be_laid_down_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("etc/taken/by-a-folder")).unwrap();
        let tree = Tree::open(&root).unwrap();
        let complaints =
            lay_down(&tree, &[entry("etc/taken", ""), entry("../out", ""), entry("etc/ok", "1")]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(root.join("etc/ok").exists());
        assert!(!folder.path().join("out").exists());
    }

    proptest::proptest! {
        #[test]
        fn no_drive_makes_the_reader_panic(bytes: Vec<u8>) {
            let _ = read(bytes.as_slice());
        }
    }

    mod fuzz {
        use super::*;

        #[test]
        fn any_bytes_are_a_config_drive_or_an_error() {
            let regular = tar::EntryType::Regular;
            let whole =
                archive(&[(CONFIG_ENTRY, regular, CONFIG), ("etc/hosts", regular, "127.0.0.1 localhost")]);
            let linked = archive(&[(CONFIG_ENTRY, regular, CONFIG), ("etc/x", tar::EntryType::Symlink, "")]);
            banger_fuzz::feed(&[&whole, &linked, CONFIG.as_bytes()], |bytes| {
                if let Ok(drive) = read(bytes) {
                    assert!(drive.files.iter().map(|file| file.content.len()).sum::<usize>() <= bytes.len());
                }
            });
        }
    }
}
