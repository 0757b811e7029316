//! What must not be forgotten: one SQLite database in the state folder.
//!
//! Three tables: VMs, images, kernels. A row of images or kernels only mirrors the manifest in its folder and is
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
mod vms;

pub(crate) use artefacts::{Artefact, ImageRecord, KernelRecord};
pub(crate) use rescue::set_aside_in;
pub(crate) use vms::{LeaseHolder, NewVm, ReserveError, VmRecord, VmSpec};

use banger_protocol::wire::{ErrorKind, RpcError};
use rusqlite::Connection;
use rusqlite_migration::MigrationDefinitionError::DatabaseTooFarAhead;
use std::io;
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
    #[error("the state database {path} could not be brought up to date")]
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
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(open)?;
        if found != "ok" {
            return Err(OpenStoreError::Damaged { path: shown(), found });
        }
        migrations::all().to_latest(&mut connection).map_err(|source| match source {
            rusqlite_migration::Error::MigrationDefinition(DatabaseTooFarAhead) => {
                OpenStoreError::Newer { path: shown() }
            }
            source => OpenStoreError::Migrate { path: shown(), source },
        })?;
        Ok(Self { connection: Mutex::new(connection) })
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

/// Names what was being done for an error of SQLite.
fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sql { action, source }
}

/// The present time in RFC 3339, UTC, to the second.
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    now.format(&time::format_description::well_known::Rfc3339).expect("the present year has four digits")
}
