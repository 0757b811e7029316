//! Rows of VMs.

use super::{ReserveError, Store, StoreError, failed};
use crate::vm::VmState;
use banger_protocol::daemon_api::vm::StageTiming;
use banger_protocol::daemon_api::workspace::Workspace;
use banger_protocol::ids::VmId;
use banger_protocol::names::{ImageName, KernelName, VmName};
use banger_protocol::root_api::ProcessIdentity;
use banger_protocol::size::ByteSize;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What the user wants of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VmSpec {
    pub vcpu: u32,
    pub memory: ByteSize,
    /// Of the work disk.
    #[serde(default = "usual_disk_size")]
    pub disk_size: ByteSize,
    /// Whether it reaches the world. No VM did until that could be chosen.
    #[serde(default)]
    pub nat: bool,
}

/// The size of work disks until it could be chosen.
fn usual_disk_size() -> ByteSize {
    VmSpec::USUAL_DISK_SIZE
}

impl VmSpec {
    pub(crate) const USUAL_DISK_SIZE: ByteSize = ByteSize::mib(8 << 10);
}

/// The process whose end ends the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseHolder {
    pub process: ProcessIdentity,
}

/// A VM as recorded.
#[derive(Clone, Debug)]
pub(crate) struct VmRecord {
    pub id: VmId,
    pub name: VmName,
    pub address: Ipv4Addr,
    pub image: ImageName,
    pub kernel: KernelName,
    pub spec: VmSpec,
    pub state: VmState,
    pub stages: Vec<StageTiming>,
    pub lease: Option<LeaseHolder>,
    pub host_key: String,
    pub machine_id: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// What of the user's files is in it.
    pub workspace: Option<Workspace>,
}

pub(super) const COLUMNS: &str =
    "id, name, address, image, kernel, spec, state, stages, lease, host_key, machine_id, created";
/// What is known of a VM besides its row.
const WORKSPACE: &str = "(SELECT record FROM workspaces WHERE vm = vms.id)";

impl Store {
    /// Makes a row for a VM of which nothing is known but that it has a folder: it can be seen and deleted.
    pub(crate) fn record_lost_vm(
        &self,
        id: &VmId,
        pick: impl Fn(&BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr>,
    ) -> Result<(), ReserveError> {
        let wrong = failed("record a lost VM");
        let connection = self.lock();
        let address = pick(&taken_addresses(&connection).map_err(&wrong)?);
        let address = address.ok_or(ReserveError::NoAddressLeft)?;
        let statement = "INSERT OR IGNORE INTO vms
             (id, name, address, image, kernel, spec, state, host_key, machine_id, created)
             VALUES (?1, 'lost-' || ?1, ?2, '', '', '', '', '', '', ?3)";
        let values = params![id.as_str(), u32::from(address), super::now()];
        connection.execute(statement, values).map_err(wrong)?;
        Ok(())
    }

    /// Every VM, oldest first, and the ids of rows that cannot be read; of these, the VMs that have at least an id
    /// are among the others as [`VmState::Damaged`].
    pub(crate) fn vms(&self) -> Result<(Vec<VmRecord>, Vec<String>), StoreError> {
        let wrong = failed("list the VMs");
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS}, {WORKSPACE} FROM vms ORDER BY created, rowid"))
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        let (mut good, mut damaged) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next().map_err(&wrong)? {
            match read(row) {
                Ok(record) => good.push(record),
                Err(error) => {
                    let id: String = row.get(0).unwrap_or_else(|_| "?".to_owned());
                    tracing::warn!(%id, %error, "a VM's row cannot be read");
                    damaged.push(id);
                    good.extend(read_damaged(row));
                }
            }
        }
        Ok((good, damaged))
    }

    pub(crate) fn vm(&self, id: &VmId) -> Result<Option<VmRecord>, StoreError> {
        let wrong = failed("read a VM");
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS}, {WORKSPACE} FROM vms WHERE id = ?1"))
            .map_err(&wrong)?;
        let read = |row: &Row<'_>| read(row).or_else(|error| read_damaged(row).ok_or(error));
        statement.query_row([id.as_str()], read).optional().map_err(wrong)
    }

    pub(crate) fn has_vm_named(&self, name: &VmName) -> Result<bool, StoreError> {
        let statement = "SELECT EXISTS (SELECT 1 FROM vms WHERE name = ?1)";
        let found = self.lock().query_row(statement, [name.as_str()], |row| row.get(0));
        found.map_err(failed("look for a VM's name"))
    }

    pub(crate) fn set_vm_state(&self, id: &VmId, state: &VmState) -> Result<(), StoreError> {
        self.update_vm(id, "state", &json(state))
    }

    pub(crate) fn set_vm_spec(&self, id: &VmId, spec: &VmSpec) -> Result<(), StoreError> {
        self.update_vm(id, "spec", &json(spec))
    }

    pub(crate) fn set_vm_stages(&self, id: &VmId, stages: &[StageTiming]) -> Result<(), StoreError> {
        self.update_vm(id, "stages", &json(&stages))
    }

    /// Remembers what of the user's files is in a VM; whether it is there to remember it of.
    pub(crate) fn set_workspace(&self, id: &VmId, workspace: &Workspace) -> Result<bool, StoreError> {
        let statement = "INSERT OR REPLACE INTO workspaces (vm, record) SELECT id, ?2 FROM vms WHERE id = ?1";
        let set = self.lock().execute(statement, params![id.as_str(), json(workspace)]);
        set.map(|count| count > 0).map_err(failed("remember a workspace"))
    }

    /// The VM belongs to nobody from now on and stays until it is deleted.
    pub(crate) fn end_lease(&self, id: &VmId) -> Result<(), StoreError> {
        let statement = "UPDATE vms SET lease = NULL WHERE id = ?1";
        self.lock().execute(statement, [id.as_str()]).map_err(failed("end a VM's lease"))?;
        Ok(())
    }

    /// `column` is a name from this file, never a user's.
    fn update_vm(&self, id: &VmId, column: &'static str, value: &str) -> Result<(), StoreError> {
        let statement = format!("UPDATE vms SET {column} = ?2 WHERE id = ?1");
        let connection = self.lock();
        let updated =
            connection.prepare_cached(&statement).and_then(|mut s| s.execute(params![id.as_str(), value]));
        updated.map_err(failed("update a VM"))?;
        Ok(())
    }

    /// Removes a VM's row, if there is one.
    pub(crate) fn delete_vm(&self, id: &VmId) -> Result<(), StoreError> {
        let statement = "DELETE FROM vms WHERE id = ?1";
        self.lock().execute(statement, [id.as_str()]).map_err(failed("remove a VM"))?;
        Ok(())
    }
}

pub(super) fn taken_addresses(connection: &Connection) -> rusqlite::Result<BTreeSet<Ipv4Addr>> {
    let mut statement = connection.prepare_cached("SELECT address FROM vms")?;
    let rows = statement.query_map([], |row| row.get::<_, u32>(0).map(Ipv4Addr::from))?;
    rows.collect()
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a record's fields serialise")
}

fn read(row: &Row<'_>) -> rusqlite::Result<VmRecord> {
    Ok(VmRecord {
        id: parsed(row, 0)?,
        name: parsed(row, 1)?,
        address: Ipv4Addr::from(row.get::<_, u32>(2)?),
        image: parsed(row, 3)?,
        kernel: parsed(row, 4)?,
        spec: from_json(row, 5)?,
        state: from_json(row, 6)?,
        stages: from_json(row, 7)?,
        lease: row
            .get::<_, Option<String>>(8)?
            .map(|text| serde_json::from_str(&text).map_err(|e| unreadable(8, e)))
            .transpose()?,
        host_key: row.get(9)?,
        machine_id: row.get(10)?,
        created: row.get(11)?,
        workspace: workspace(row),
    })
}

/// What it takes to name a VM and to take it down; the rest is made up.
fn read_damaged(row: &Row<'_>) -> Option<VmRecord> {
    let id: VmId = parsed(row, 0).ok()?;
    let name = parsed(row, 1).or_else(|_| format!("damaged-{id}").parse()).ok()?;
    let unknown = "unknown";
    Some(VmRecord {
        id,
        name,
        address: row.get::<_, u32>(2).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from),
        image: parsed(row, 3).or_else(|_| unknown.parse()).ok()?,
        kernel: parsed(row, 4).or_else(|_| unknown.parse()).ok()?,
        spec: VmSpec { vcpu: 0, memory: ByteSize::bytes(0), disk_size: ByteSize::bytes(0), nat: false },
        state: VmState::Damaged,
        stages: Vec::new(),
        lease: None,
        host_key: String::new(),
        machine_id: String::new(),
        created: row.get(11).unwrap_or_default(),
        workspace: None,
    })
}

/// One that cannot be read is none: the next prepare makes it again.
fn workspace(row: &Row<'_>) -> Option<Workspace> {
    serde_json::from_str(&row.get::<_, Option<String>>(12).ok()??).ok()
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>,
{
    T::try_from(row.get::<_, String>(column)?).map_err(|e| unreadable(column, e))
}

fn from_json<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{ImageRecord, KernelRecord, NewVm};
    use super::*;

    pub(in crate::store) fn new(name: &str) -> NewVm {
        NewVm {
            id: VmId::random(),
            name: name.parse().unwrap(),
            image: "image".parse().unwrap(),
            kernel: "kernel".parse().unwrap(),
            spec: VmSpec {
                vcpu: 1,
                memory: ByteSize::mib(512),
                disk_size: VmSpec::USUAL_DISK_SIZE,
                nat: false,
            },
            lease: None,
            host_key: String::new(),
            machine_id: String::new(),
        }
    }

    pub(in crate::store) fn lowest(taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        (2..5).map(|last| Ipv4Addr::new(10, 0, 0, last)).find(|address| !taken.contains(address))
    }

    pub(in crate::store) fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("banger.db")).unwrap();
        let (name, kernel) = ("image".parse().unwrap(), "kernel".parse().unwrap());
        let [source, created, version, arch, sha256] = [const { String::new() }; 5];
        let image = ImageRecord {
            name,
            kernel,
            source: source.clone(),
            digest: None,
            created: created.clone(),
            config: banger_protocol::image_config::ImageConfig::default(),
            entries: None,
            has_init: true,
            has_sshd: true,
            has_agent: true,
            no_agent: false,
            registered: None,
        };
        store.put(&image).unwrap();
        let boot_modules = Vec::new();
        let kernel = KernelRecord {
            name: image.kernel,
            source,
            distro: None,
            own_initrd: false,
            of_image: None,
            version,
            arch,
            sha256,
            boot_modules,
            created,
        };
        store.put(&kernel).unwrap();
        (folder, store)
    }

    #[test]
    fn a_damaged_row_is_named_hides_no_other_and_can_be_found() {
        let (_folder, store) = store();
        let first = store.reserve_vm(new("a"), lowest).unwrap();
        store.reserve_vm(new("b"), lowest).unwrap();
        store.update_vm(&first.id, "state", "{\"runn").unwrap();
        let (good, damaged) = store.vms().unwrap();
        assert_eq!(good.iter().map(|vm| vm.state == VmState::Damaged).collect::<Vec<_>>(), [true, false]);
        assert_eq!(damaged, [first.id.to_string()]);
        assert_eq!(store.vm(&first.id).unwrap().unwrap().name, first.name);
    }

    #[test]
    fn of_a_create_and_a_delete_of_its_image_at_once_one_is_refused() {
        let (_folder, store) = store();
        let vm = store.reserve_vm(new("a"), lowest).unwrap();
        let users = store.remove_unused::<ImageRecord>("image").unwrap();
        assert_eq!(users, [(vm.id.clone(), vm.name)]);
        store.delete_vm(&vm.id).unwrap();
        assert_eq!(store.remove_unused::<ImageRecord>("image").unwrap(), []);
        assert!(matches!(store.reserve_vm(new("a"), lowest), Err(ReserveError::ArtefactGone)));
        assert!(store.vms().unwrap().0.is_empty());
    }

    #[test]
    fn a_vm_of_before_nat_could_be_chosen_has_none() {
        let (_folder, store) = store();
        let vm = store.reserve_vm(new("a"), lowest).unwrap();
        store.update_vm(&vm.id, "spec", r#"{"vcpu":1,"memory":536870912}"#).unwrap();
        let spec = store.vm(&vm.id).unwrap().unwrap().spec;
        assert_eq!((spec.nat, spec.disk_size), (false, VmSpec::USUAL_DISK_SIZE));
    }

    #[test]
    fn a_lost_vm_is_recorded_once_and_can_be_seen() {
        let (_folder, store) = store();
        let known = store.reserve_vm(new("a"), lowest).unwrap();
        let lost = VmId::random();
        for id in [&lost, &lost, &known.id] {
            store.record_lost_vm(id, lowest).unwrap();
        }
        let (vms, _) = store.vms().unwrap();
        assert_eq!(vms.len(), 2);
        assert_eq!(store.vm(&known.id).unwrap().unwrap().state, VmState::Created);
        let found = store.vm(&lost).unwrap().unwrap();
        assert_eq!((found.name.to_string(), found.state), (format!("lost-{lost}"), VmState::Damaged));
    }
}
