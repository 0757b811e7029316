//! What becomes of a database that SQLite cannot read.
//!
//! It is kept under another name, for whoever wants to look at it, and a new one takes its place with the rows that
//! could still be read. Nothing is removed on the word of a rescued database: see [`super::Store::is_complete`].

use super::OpenStoreError;
use super::vms::COLUMNS;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAMAGED: &str = ".damaged-";

/// Whether the file itself is at fault, and not its surroundings, such as a full disk.
pub(super) fn is_damage(error: &OpenStoreError) -> bool {
    let cause = match error {
        OpenStoreError::Damaged { .. } => return true,
        OpenStoreError::Open { source, .. } => source,
        OpenStoreError::Migrate { source: rusqlite_migration::Error::RusqliteError { err, .. }, .. } => err,
        OpenStoreError::Migrate { .. } | OpenStoreError::Newer { .. } | OpenStoreError::SetAside { .. } => {
            return false;
        }
    };
    matches!(cause.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Gives the database another name and returns it.
///
/// The database goes before its log: after a crash in between there is none, and not one without its last rows.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = with_suffix(path, &format!("{DAMAGED}{seconds}"));
    std::fs::rename(path, &aside)?;
    let log = with_suffix(path, "-wal");
    match std::fs::rename(&log, with_suffix(&aside, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match std::fs::remove_file(with_suffix(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Copies the VMs' rows up to the first that cannot be read; rows of images and kernels are made anew anyway.
pub(super) fn take_over(connection: &Connection, aside: &Path) {
    match copy_rows(connection, aside) {
        Ok(count) => tracing::info!(count, "took over VMs of the database that was set aside"),
        Err(error) => tracing::warn!(%error, "not every VM of the database that was set aside can be read"),
    }
}

fn copy_rows(connection: &Connection, aside: &Path) -> rusqlite::Result<usize> {
    let damaged = Connection::open(aside)?;
    let mut select = damaged.prepare(&format!("SELECT {COLUMNS} FROM vms ORDER BY rowid"))?;
    let columns = select.column_count();
    let mut insert = connection
        .prepare(&format!("INSERT INTO vms ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)"))?;
    let mut rows = select.query([])?;
    let mut copied = 0;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()?;
        match insert.execute(params_from_iter(values)) {
            Ok(count) => copied += count,
            // Such as a name that is there twice.
            Err(error) => tracing::warn!(%error, "a VM of the database that was set aside was left out"),
        }
    }
    Ok(copied)
}

/// Databases that were set aside in a state folder, for the doctor.
pub(crate) fn set_aside_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_database =
        |name: &str| name.contains(DAMAGED) && !name.ends_with("-wal") && !name.ends_with("-shm");
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_database))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::vms::tests::{lowest, new, store};
    use super::*;
    use crate::vm::VmState;
    use std::os::unix::fs::FileExt;

    #[test]
    fn whatever_lies_in_place_of_the_database_one_is_opened_and_the_old_kept() {
        for garbage in [&b"SQLite format 3\0 and then nonsense"[..], &[0xa5; 8192]] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("banger.db");
            std::fs::write(&path, garbage).unwrap();
            let store = Store::open(&path).unwrap();
            assert!(!store.is_complete().unwrap());
            let aside = set_aside_in(folder.path());
            assert_eq!(aside.len(), 1);
            assert_eq!(std::fs::read(&aside[0]).unwrap(), garbage);
        }
    }

    #[test]
    fn rows_that_can_be_read_survive_the_damage_beside_them() {
        let (folder, store) = store();
        let vm = store.reserve_vm(new("a"), lowest).unwrap();
        store.mark_complete().unwrap();
        let page: u32 = {
            let connection = store.lock();
            connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            connection
                .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'vms_image'", [], |r| r.get(0))
        }
        .unwrap();
        drop(store);
        let path = folder.path().join("banger.db");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 512], u64::from(page - 1) * 4096).unwrap();

        let store = Store::open(&path).unwrap();
        assert_eq!(set_aside_in(folder.path()).len(), 1);
        assert!(!store.is_complete().unwrap());
        let found = store.vm(&vm.id).unwrap().unwrap();
        assert_eq!((found.name, found.state), (vm.name, VmState::Created));
    }
}
