//! Reserving VMs: name, id and address at once, or nothing.
//!
//! A reservation is on the disk before anything is made for it, and a disk takes milliseconds to say so. Nobody gets at
//! the database meanwhile, so whoever gets it next reserves for all who have come to wait, in one transaction: a
//! hundred VMs at once are a few writes and not a hundred, one after another.
//!
//! What one of them asked for may be refused, which is the others' no concern. Should the database itself fail, none of
//! them has anything.

use super::vms::{COLUMNS, LeaseHolder, VmSpec, json, taken_addresses};
use super::{Store, StoreError, VmRecord, failed};
use crate::vm::VmState;
use banger_protocol::ids::VmId;
use banger_protocol::names::{ImageName, KernelName, VmName};
use rusqlite::{Connection, TransactionBehavior, ffi, params};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A VM that has no address yet.
#[derive(Debug)]
pub(crate) struct NewVm {
    pub id: VmId,
    pub name: VmName,
    pub image: ImageName,
    pub kernel: KernelName,
    pub spec: VmSpec,
    pub lease: Option<LeaseHolder>,
    /// OpenSSH private key, the guest's own.
    pub host_key: String,
    /// 32 hexadecimal digits.
    pub machine_id: String,
}

/// Why there is no new VM.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReserveError {
    #[error("a VM named `{0}` already exists")]
    NameTaken(VmName),
    #[error("no free guest address is left")]
    NoAddressLeft,
    #[error("its image or kernel was deleted in the meantime")]
    ArtefactGone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Outcome = Result<VmRecord, ReserveError>;
/// Chooses an address that is not among those taken.
type Pick = Box<dyn Fn(&BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> + Send>;

/// Those who wait for the database to reserve a VM.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<Wish>>);

struct Wish {
    new: NewVm,
    pick: Pick,
    answer: Answer,
}

/// What became of a wish, left there by whoever fulfilled it.
#[derive(Clone, Default)]
struct Answer(Arc<Mutex<Option<Outcome>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<Wish>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} wait", self.lock().len())
    }
}

impl Answer {
    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Reserves name, id and address at once, or nothing. From then on image and kernel cannot be deleted.
    ///
    /// `pick` chooses an address that is not in the given set.
    pub(crate) fn reserve_vm(
        &self,
        new: NewVm,
        pick: impl Fn(&BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> + Send + 'static,
    ) -> Outcome {
        let answer = Answer::default();
        self.waiting.lock().push(Wish { new, pick: Box::new(pick), answer: answer.clone() });
        let mut connection = self.lock();
        if let Some(outcome) = answer.lock().take() {
            return outcome;
        }
        let wishes = std::mem::take(&mut *self.waiting.lock());
        fulfil(&mut connection, wishes);
        answer.lock().take().expect("a wish that nobody has fulfilled is among those that wait")
    }
}

/// Answers every one of them.
fn fulfil(connection: &mut Connection, wishes: Vec<Wish>) {
    let (news, answers): (Vec<_>, Vec<_>) =
        wishes.into_iter().map(|Wish { new, pick, answer }| ((new, pick), answer)).unzip();
    let outcomes: Vec<Outcome> = match reserve_all(connection, news) {
        Ok(outcomes) => outcomes,
        Err(source) => answers.iter().map(|_| Err(wrong(same(&source)).into())).collect(),
    };
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        *answer.lock() = Some(outcome);
    }
}

/// One transaction; an error is of the database and of all.
fn reserve_all(connection: &mut Connection, news: Vec<(NewVm, Pick)>) -> rusqlite::Result<Vec<Outcome>> {
    // A row that a power failure takes back would leave the VM's disks to be removed as nobody's.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let outcome =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
            let outcomes = news.into_iter().map(|(new, pick)| reserve(&transaction, new, &pick));
            let outcomes = outcomes.collect::<rusqlite::Result<Vec<_>>>()?;
            transaction.commit()?;
            Ok(outcomes)
        });
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    outcome
}

/// A refusal is the inner error, and leaves nothing behind.
fn reserve(connection: &Connection, new: NewVm, pick: &Pick) -> rusqlite::Result<Outcome> {
    let are_there = "SELECT EXISTS (SELECT 1 FROM images WHERE name = ?1)
                        AND EXISTS (SELECT 1 FROM kernels WHERE name = ?2)";
    let names = [new.image.as_str(), new.kernel.as_str()];
    if !connection.query_row(are_there, names, |row| row.get::<_, bool>(0))? {
        return Ok(Err(ReserveError::ArtefactGone));
    }
    let Some(address) = pick(&taken_addresses(connection)?) else {
        return Ok(Err(ReserveError::NoAddressLeft));
    };
    let record = VmRecord {
        id: new.id,
        name: new.name,
        address,
        image: new.image,
        kernel: new.kernel,
        spec: new.spec,
        state: VmState::Created,
        stages: Vec::new(),
        lease: new.lease,
        host_key: new.host_key,
        machine_id: new.machine_id,
        created: super::now(),
        workspace: None,
    };
    let inserted = connection.execute(
        &format!("INSERT INTO vms ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)"),
        params![
            record.id.as_str(),
            record.name.as_str(),
            u32::from(record.address),
            record.image.as_str(),
            record.kernel.as_str(),
            json(&record.spec),
            json(&record.state),
            json(&record.stages),
            record.lease.as_ref().map(json),
            record.host_key,
            record.machine_id,
            record.created,
        ],
    );
    match inserted {
        Ok(_) => Ok(Ok(record)),
        Err(rusqlite::Error::SqliteFailure(_, Some(message))) if message.contains("vms.name") => {
            Ok(Err(ReserveError::NameTaken(record.name)))
        }
        Err(source) => Err(source),
    }
}

fn wrong(source: rusqlite::Error) -> StoreError {
    failed("reserve a VM")(source)
}

/// The error once more, for another who waited: what was wrong with the database, in its own words.
fn same(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            rusqlite::Error::SqliteFailure(*code, message.clone())
        }
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::vms::tests::{lowest, new, store};
    use super::*;

    fn many(taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        (2..250).map(|last| Ipv4Addr::new(10, 0, 0, last)).find(|address| !taken.contains(address))
    }

    /// Has `names` reserved by as many threads while the database is somebody else's.
    fn at_once(store: &Store, names: &[&str]) -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let held = store.lock();
            let reserving: Vec<_> =
                names.iter().map(|name| scope.spawn(|| store.reserve_vm(new(name), many))).collect();
            while store.waiting.lock().len() < names.len() {
                std::thread::yield_now();
            }
            drop(held);
            reserving.into_iter().map(|reserving| reserving.join().unwrap()).collect()
        })
    }

    #[test]
    fn those_who_wait_for_the_database_are_served_in_one_write() {
        let (folder, store) = store();
        let emptied = store.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        emptied.unwrap();
        let names: Vec<String> = (0..40).map(|number| format!("vm-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let addresses: BTreeSet<_> =
            at_once(&store, &names).into_iter().map(|outcome| outcome.unwrap().address).collect();
        assert_eq!((addresses.len(), store.vms().unwrap().0.len()), (40, 40));
        // Each transaction writes one page at least, of 4 KiB with its header.
        let log = std::fs::metadata(folder.path().join("banger.db-wal")).unwrap().len();
        assert!(log < 40 * 4096, "{log} bytes were written");
    }

    #[test]
    fn what_is_refused_to_one_of_them_the_others_have() {
        let (_folder, store) = store();
        let mut outcomes = at_once(&store, &["a", "b", "a", "c"]);
        let taken = outcomes.extract_if(.., |outcome| outcome.is_err()).collect::<Vec<_>>();
        assert!(matches!(&taken[..], [Err(ReserveError::NameTaken(name))] if name.as_str() == "a"));
        assert_eq!((outcomes.len(), store.vms().unwrap().0.len()), (3, 3));
    }

    #[test]
    fn a_database_that_fails_refuses_all_of_them_and_keeps_none() {
        let (_folder, store) = store();
        let fails = "CREATE TEMP TRIGGER full BEFORE INSERT ON vms WHEN NEW.name = 'c'
                     BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        store.lock().execute_batch(fails).unwrap();
        for outcome in at_once(&store, &["a", "b", "c"]) {
            assert!(matches!(outcome, Err(ReserveError::Store(_))), "{outcome:?}");
        }
        assert_eq!(store.vms().unwrap().0.len(), 0);
        store.reserve_vm(new("a"), lowest).unwrap();
    }

    #[test]
    fn a_taken_name_and_an_empty_pool_leave_no_row() {
        let (_folder, store) = store();
        for name in ["a", "b", "c"] {
            store.reserve_vm(new(name), lowest).unwrap();
        }
        assert!(matches!(store.reserve_vm(new("d"), lowest), Err(ReserveError::NoAddressLeft)));
        let (vms, _) = store.vms().unwrap();
        store.delete_vm(&vms[0].id).unwrap();
        assert!(matches!(store.reserve_vm(new("b"), lowest), Err(ReserveError::NameTaken(_))));
        assert_eq!(store.vms().unwrap().0.len(), 2);
        assert_eq!(store.reserve_vm(new("e"), lowest).unwrap().address, Ipv4Addr::new(10, 0, 0, 2));
    }
}
