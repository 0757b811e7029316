//! What must not be forgotten: one SQLite database in the state folder.
//!
//! Three tables: VMs, images, kernels. A row of images or kernels only mirrors the manifest in its folder and is
//! made anew from it at start, so the folders can be moved from one machine to another; a VM's row is the only
//! record of it. A reservation is one short transaction in which `UNIQUE` decides: no lock is held across
//! anything slower than a disk write.

mod artefacts;
mod migrations;
mod vms;

pub(crate) use artefacts::{Artefact, ImageRecord, KernelRecord};
pub(crate) use vms::{LeaseHolder, NewVm, ReserveError, VmRecord, VmSpec};

use rusqlite::Connection;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("the state database {path} could not be opened")]
    Open { path: String, source: rusqlite::Error },
    #[error("the state database {path} could not be brought up to date")]
    Migrate { path: String, source: rusqlite_migration::Error },
}

/// The database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the state database could not {action}")]
    Sql { action: &'static str, source: rusqlite::Error },
}

/// The open database. One connection: every statement here takes well under a millisecond.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the database, making or upgrading it as needed.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenStoreError> {
        let shown = || path.display().to_string();
        let open = |source| OpenStoreError::Open { path: shown(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
            )
            .map_err(open)?;
        migrations::all()
            .to_latest(&mut connection)
            .map_err(|source| OpenStoreError::Migrate { path: shown(), source })?;
        Ok(Self { connection: Mutex::new(connection) })
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
