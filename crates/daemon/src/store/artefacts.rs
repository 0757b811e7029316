//! Rows of images and kernels: mirrors of the manifests in their folders.

use super::{Store, StoreError, failed};
use banger_protocol::ids::VmId;
use banger_protocol::image_config::ImageConfig;
use banger_protocol::names::{ImageName, KernelName, VmName};
use rusqlite::{OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An image's manifest: everything about it that is not its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageRecord {
    pub name: ImageName,
    pub source: String,
    pub kernel: KernelName,
    /// SHA-256 over everything a guest can see in it, hexadecimal; known of what was built here.
    pub digest: Option<String>,
    pub entries: Option<u64>,
    pub has_init: bool,
    pub has_sshd: bool,
    /// Whether it carries the agent, which it needs where no initrd of banger's brings it.
    #[serde(default)]
    pub has_agent: bool,
    /// Whether it may start without ever being heard of again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_agent: bool,
    /// Where its files are, unless they are banger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<Registered>,
    /// RFC 3339, UTC.
    pub created: String,
    #[serde(default, skip_serializing_if = "ImageConfig::is_empty")]
    pub config: ImageConfig,
}

/// Files of an image that belong to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registered {
    pub rootfs: PathBuf,
    /// None: in the image's folder, made of the root file system's `/root`.
    pub work_seed: Option<PathBuf>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A kernel's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelRecord {
    pub name: KernelName,
    pub source: String,
    /// As `uname -r` prints it.
    pub version: String,
    pub arch: String,
    /// SHA-256 of the uncompressed kernel, hexadecimal.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distro: Option<String>,
    /// Its initrd came with it and is left as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_initrd: bool,
    /// The image that it came with and goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_image: Option<ImageName>,
    /// What the initrd loads, in this order.
    #[serde(default)]
    pub boot_modules: Vec<String>,
    /// RFC 3339, UTC.
    pub created: String,
}

/// Something that is a folder with a manifest and a row that mirrors it.
pub(crate) trait Artefact: Serialize + DeserializeOwned + PartialEq {
    /// What one is called.
    const KIND: &'static str;
    /// Its table.
    const TABLE: &'static str;
    /// The column of `vms` that refers to it.
    const REFERENCE: &'static str;
    fn name(&self) -> &str;
}

impl Artefact for ImageRecord {
    const KIND: &'static str = "image";
    const TABLE: &'static str = "images";
    const REFERENCE: &'static str = "image";
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Artefact for KernelRecord {
    const KIND: &'static str = "kernel";
    const TABLE: &'static str = "kernels";
    const REFERENCE: &'static str = "kernel";
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Store {
    /// Makes or replaces a row.
    pub(crate) fn put<A: Artefact>(&self, artefact: &A) -> Result<(), StoreError> {
        let manifest = serde_json::to_string(artefact).expect("a manifest serialises");
        let statement = format!("INSERT OR REPLACE INTO {} (name, manifest) VALUES (?1, ?2)", A::TABLE);
        self.lock()
            .execute(&statement, params![artefact.name(), manifest])
            .map_err(failed("record an artefact"))?;
        Ok(())
    }

    pub(crate) fn find<A: Artefact>(&self, name: &str) -> Result<Option<A>, StoreError> {
        let statement = format!("SELECT manifest FROM {} WHERE name = ?1", A::TABLE);
        self.lock()
            .query_row(&statement, [name], |row| manifest(&row.get::<_, String>(0)?))
            .optional()
            .map_err(failed("read an artefact"))
    }

    /// All of one kind, by name.
    pub(crate) fn all<A: Artefact>(&self) -> Result<Vec<A>, StoreError> {
        let wrong = failed("list the artefacts");
        let connection = self.lock();
        let mut statement = connection
            .prepare(&format!("SELECT manifest FROM {} ORDER BY name", A::TABLE))
            .map_err(&wrong)?;
        let rows = statement.query_map([], |row| manifest(&row.get::<_, String>(0)?)).map_err(&wrong)?;
        rows.collect::<Result<_, _>>().map_err(wrong)
    }

    /// Makes `artefacts`, in the order of their names, the only rows of their kind.
    ///
    /// Nothing is written when they are already: on a full disk the daemon has to start, or nobody can delete
    /// anything.
    pub(crate) fn keep_only<A: Artefact>(&self, artefacts: &[A]) -> Result<(), StoreError> {
        if self.all::<A>().is_ok_and(|rows| rows == artefacts) {
            return Ok(());
        }
        self.lock().execute(&format!("DELETE FROM {}", A::TABLE), []).map_err(failed("forget artefacts"))?;
        artefacts.iter().try_for_each(|artefact| self.put(artefact))
    }

    /// Removes a row unless a VM refers to it; the VMs that do otherwise.
    pub(crate) fn remove_unused<A: Artefact>(&self, name: &str) -> Result<Vec<(VmId, VmName)>, StoreError> {
        let wrong = failed("remove an artefact");
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&wrong)?;
        let users: Vec<(String, String)> = {
            let select = format!("SELECT id, name FROM vms WHERE {} = ?1 ORDER BY name", A::REFERENCE);
            let mut statement = transaction.prepare(&select).map_err(&wrong)?;
            let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&wrong)?;
            rows.collect::<Result<_, _>>().map_err(&wrong)?
        };
        if users.is_empty() {
            transaction
                .execute(&format!("DELETE FROM {} WHERE name = ?1", A::TABLE), [name])
                .map_err(&wrong)?;
            transaction.commit().map_err(wrong)?;
        }
        Ok(users.into_iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.parse().ok()?))).collect())
    }
}

fn manifest<A: DeserializeOwned>(text: &str) -> rusqlite::Result<A> {
    serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}
