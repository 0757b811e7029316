//! Virtual machines: what may be done with one when ([`state`]), and how it is done, one verb a file.
//!
//! Everything a VM can own is named from its id and removed by [`release`], the only cleanup there is: a failed
//! start, a stop, a delete, a cancelled create and the daemon's own start all call it. A step of [`start`] that
//! acquires something is an [`effect`], and its removal is in `release`.
//!
//! One async lock for each VM ([`Locks`]) keeps verbs on the same VM apart; nobody ever holds two.

pub(crate) mod adopt;
mod boot;
mod config_drive;
pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod delete;
mod disks;
mod effect;
mod folder;
mod generated_name;
mod keys;
pub(crate) mod lease;
pub(crate) mod logs;
mod release;
mod resolve;
mod shared_files;
pub(crate) mod start;
mod starting;
mod state;
pub(crate) mod stop;
pub(crate) mod view;
pub(crate) mod vmm;
mod vsock_backend;
mod watch;
mod work_disk;

pub(crate) use effect::Faults;
pub(crate) use keys::{own_key, public_of};
pub(crate) use resolve::resolve;
pub(crate) use starting::Starting;
pub(crate) use state::VmState;

use banger_protocol::ids::VmId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// The lock of each VM.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<VmId, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits for this VM's lock.
    pub(crate) async fn lock(&self, vm: &VmId) -> OwnedMutexGuard<()> {
        self.of(vm).lock_owned().await
    }

    /// Locks that nobody holds or waits for are dropped on the way, so there are never more than are in use.
    fn of(&self, vm: &VmId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(vm.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_one_for_all_who_want_it_and_none_is_kept_for_nobody() {
        let (locks, vm) = (Locks::default(), VmId::random());
        let held = locks.lock(&vm).await;
        for _ in 0..1000 {
            drop(locks.lock(&VmId::random()).await);
        }
        assert!(locks.of(&vm).try_lock().is_err(), "another lock for the same VM");
        assert!(locks.0.lock().unwrap().len() <= 2);
        drop(held);
        assert!(locks.of(&vm).try_lock().is_ok());
    }
}
