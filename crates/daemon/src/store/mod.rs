//! What must not be forgotten: one SQLite database in the state folder.
//!
//! Four tables: VMs, what is in them of the user's files, images, kernels. A row of images or kernels only mirrors the manifest in its folder and is
//! made anew from it at start, so the folders can be moved from one machine to another; a VM's row is the only
//! record of it. A reservation is one short transaction in which `UNIQUE` decides: no lock is held across
//! anything slower than a disk write.
//!
//! What has no row is removed at start, so a database that lost its rows would cost VMs their disks. That is why a
//! reservation is on the disk before anything is made for it, and why a database has to be marked as complete
//! ([`Store::is_complete`]) before it is believed that what it does not know is nobody's.

mod artefacts;
mod migrations;
mod rescue;
mod reserve;
mod vms;

pub(crate) use artefacts::{Artefact, ImageRecord, KernelRecord, Registered};
pub(crate) use rescue::set_aside_in;
pub(crate) use reserve::{NewVm, ReserveError};
pub(crate) use vms::{LeaseHolder, VmRecord, VmSpec};

use banger_protocol::wire::{ErrorKind, RpcError};
use reserve::Waiting;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::MigrationDefinitionError::DatabaseTooFarAhead;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// `PRAGMA application_id` of a database that knows every VM: "bang".
const COMPLETE: i32 = 0x6261_6e67;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("the state database {path} could not be opened")]
    Open { path: String, source: rusqlite::Error },
    #[error("the state database {path} is damaged: {found}")]
    Damaged { path: String, found: String },
    #[error("the state database {path} was made by a newer banger")]
    Newer { path: String },
    #[error("the state database {path} could not be migrated")]
    Migrate { path: String, source: rusqlite_migration::Error },
    #[error("the damaged state database {path} could not be set aside")]
    SetAside { path: String, source: io::Error },
}

/// The database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the state database could not {action}")]
    Sql { action: &'static str, source: rusqlite::Error },
}

impl StoreError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let Self::Sql { source, .. } = self;
        hint_for(source)
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        Self { hint: error.hint(), ..Self::from_error(ErrorKind::OperationFailed, &error) }
    }
}

/// What can be done about an error of SQLite that has its cause outside.
pub(crate) fn hint_for(error: &rusqlite::Error) -> Option<String> {
    let kind = match error.sqlite_error_code()? {
        rusqlite::ErrorCode::DiskFull => io::ErrorKind::StorageFull,
        rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied => {
            io::ErrorKind::PermissionDenied
        }
        _ => return None,
    };
    crate::clone::hint_for(&kind.into())
}

/// The open database. One connection: every statement here takes well under a millisecond.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
    waiting: Waiting,
}

impl Store {
    /// Opens the database, making or upgrading it as needed. One that is damaged is set aside, and a new one takes
    /// over what can still be read of it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenStoreError> {
        match Self::open_sound(path) {
            Err(error) if rescue::is_damage(&error) => {
                let aside = rescue::set_aside(path).map_err(|source| OpenStoreError::SetAside {
                    path: path.display().to_string(),
                    source,
                })?;
                tracing::error!(?error, aside = %aside.display(), "the database was set aside");
                let store = Self::open_sound(path)?;
                rescue::take_over(&store.lock(), &aside);
                Ok(store)
            }
            outcome => outcome,
        }
    }

    fn open_sound(path: &Path) -> Result<Self, OpenStoreError> {
        let shown = || path.display().to_string();
        let open = |source| OpenStoreError::Open { path: shown(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
            )
            .map_err(open)?;
        check_soundness(&connection, path)?;
        migrations::all().to_latest(&mut connection).map_err(|source| match source {
            rusqlite_migration::Error::MigrationDefinition(DatabaseTooFarAhead) => {
                OpenStoreError::Newer { path: shown() }
            }
            source => OpenStoreError::Migrate { path: shown(), source },
        })?;
        Ok(Self { connection: Mutex::new(connection), waiting: Waiting::default() })
    }

    /// Opens the database for somebody who only looks while no daemon runs; `None` when there is none. Nothing is made,
    /// set aside or brought up to date.
    pub(crate) fn open_to_look(path: &Path) -> Result<Option<Self>, OpenStoreError> {
        if !path.exists() {
            return Ok(None);
        }
        let shown = || path.display().to_string();
        let open = |source| OpenStoreError::Open { path: shown(), source };
        // Without a log beside it the file is all there is, and can be read without making the files that go with one.
        let log = std::fs::metadata(format!("{}-wal", path.display())).map_or(0, |log| log.len());
        let mode = if log == 0 { "?mode=ro&immutable=1" } else { "?mode=ro" };
        let uri = format!("file:{}{mode}", percent_encoded(path));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri, flags).map_err(open)?;
        check_soundness(&connection, path)?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(open)?;
        if usize::try_from(version).is_ok_and(|version| version > migrations::COUNT) {
            return Err(OpenStoreError::Newer { path: shown() });
        }
        Ok(Some(Self { connection: Mutex::new(connection), waiting: Waiting::default() }))
    }

    /// Whether every VM there may be has a row. Not so in a database that was just made: the one before it may have
    /// been lost.
    pub(crate) fn is_complete(&self) -> Result<bool, StoreError> {
        let id = self.lock().query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0));
        id.map(|id| id == COMPLETE).map_err(failed("tell whether it is complete"))
    }

    /// From now on, what has no row is nobody's.
    pub(crate) fn mark_complete(&self) -> Result<(), StoreError> {
        let marked = self.lock().pragma_update(None, "application_id", COMPLETE);
        marked.map_err(failed("be marked as complete"))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while holding the lock cannot leave a statement half done: SQLite rolls back.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn check_soundness(connection: &Connection, path: &Path) -> Result<(), OpenStoreError> {
    let path = path.display().to_string();
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(found) if found == "ok" => Ok(()),
        Ok(found) => Err(OpenStoreError::Damaged { path, found }),
        Err(source) => Err(OpenStoreError::Open { path, source }),
    }
}

/// A path as it is written in a URI.
fn percent_encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let encode = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

/// Names what was being done for an error of SQLite.
fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sql { action, source }
}

/// The present time in RFC 3339, UTC, to the second.
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    now.format(&time::format_description::well_known::Rfc3339).expect("the present year has four digits")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A VM as it is on record, for tests that are about something else.
    pub(crate) fn recorded() -> VmRecord {
        let (_folder, store) = vms::tests::store();
        store.reserve_vm(vms::tests::new("a"), vms::tests::lowest).unwrap()
    }

    #[test]
    fn whoever_only_looks_sees_everything_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("with space %41 ?.db");
        assert!(Store::open_to_look(&path).unwrap().is_none());
        let (_folder, store) = vms::tests::store();
        store.reserve_vm(vms::tests::new("a"), vms::tests::lowest).unwrap();
        store.lock().execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        let before = std::fs::read(&path).unwrap();
        let looked = Store::open_to_look(&path).unwrap().unwrap();
        assert_eq!(looked.vms().unwrap().0.len(), 1);
        assert!(looked.mark_complete().is_err(), "it was written to");
        drop(looked);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn whoever_only_looks_is_told_of_damage_and_of_a_newer_schema() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("banger.db");
        std::fs::write(&path, [0xa5; 8192]).unwrap();
        let damaged = Store::open_to_look(&path).unwrap_err();
        assert!(rescue::is_damage(&damaged), "{damaged:?}");
        std::fs::remove_file(&path).unwrap();
        let store = Store::open(&path).unwrap();
        store.lock().pragma_update(None, "user_version", 1000).unwrap();
        drop(store);
        assert!(matches!(Store::open_to_look(&path), Err(OpenStoreError::Newer { .. })));
    }
}
