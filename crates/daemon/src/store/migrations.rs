//! The schema's history. Forward only: a step that has been released is never edited, a new one is added.

use rusqlite_migration::{M, Migrations};

/// How many steps there are: the `user_version` of a database that is up to date.
pub(super) const COUNT: usize = STEPS.len();

pub(super) fn all() -> Migrations<'static> {
    Migrations::new(STEPS.iter().copied().map(M::up).collect())
}

const STEPS: &[&str] = &[
    "CREATE TABLE kernels (
             name     TEXT PRIMARY KEY,
             manifest TEXT NOT NULL
         ) STRICT;
         CREATE TABLE images (
             name     TEXT PRIMARY KEY,
             manifest TEXT NOT NULL
         ) STRICT;
         CREATE TABLE vms (
             id         TEXT PRIMARY KEY,
             name       TEXT NOT NULL UNIQUE,
             address    INTEGER NOT NULL UNIQUE,
             image      TEXT NOT NULL,
             kernel     TEXT NOT NULL,
             spec       TEXT NOT NULL,
             state      TEXT NOT NULL,
             stages     TEXT NOT NULL DEFAULT '[]',
             lease      TEXT,
             host_key   TEXT NOT NULL,
             machine_id TEXT NOT NULL,
             created    TEXT NOT NULL
         ) STRICT;
         CREATE INDEX vms_image ON vms (image);
         CREATE INDEX vms_kernel ON vms (kernel);",
    "CREATE TABLE workspaces (
             vm     TEXT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
             record TEXT NOT NULL
         ) STRICT;",
];

#[cfg(test)]
mod tests {
    #[test]
    fn the_migrations_apply_to_an_empty_database() {
        assert!(super::all().validate().is_ok());
    }
}
