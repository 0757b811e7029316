//! Virtual machines: what may be done with one when ([`state`]), and how it is done, one verb a file.
//!
//! Everything a VM can own is named from its id and removed by [`release`], the only cleanup there is: a failed
//! start, a stop, a delete, a cancelled create and the daemon's own start all call it. A step of [`start`] that
//! acquires something is an [`effect`], and its removal is in `release`.
//!
//! One async lock for each VM ([`Locks`]) keeps verbs on the same VM apart; nobody ever holds two. Connections into a
//! guest are opened without it, by the dozen and while others wait, but not through a door ([`Doors`]) that is shut.

mod activity;
pub(crate) mod adopt;
mod boot;
mod config_drive;
pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod delete;
mod disks;
mod driver;
mod effect;
pub(crate) mod egress;
mod end;
mod folder;
mod generated_name;
mod halt;
pub(crate) mod health;
mod keys;
pub(crate) mod kill;
pub(crate) mod lease;
pub(crate) mod logs;
pub(crate) mod look_after;
mod names;
mod network_tools;
pub(crate) mod pause;
pub(crate) mod ports;
pub(crate) mod program;
mod reboot;
mod release;
mod resolve;
pub(crate) mod restart;
pub(crate) mod set;
mod shared_files;
pub(crate) mod start;
mod starting;
mod state;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod view;
pub(crate) mod vmm;
mod vsock_backend;
mod watch;
mod work_disk;

pub(crate) use activity::Activity;
pub(crate) use disks::{RootDiskWay, root_disk_way};
pub(crate) use effect::{Faults, Planted};
pub(crate) use keys::{own_key, public_of};
pub(crate) use network_tools::NetworkTools;
pub(crate) use resolve::resolve;
pub(crate) use starting::Starting;
pub(crate) use state::VmState;

use banger_protocol::ids::VmId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// One of something for each VM, there for as long as somebody holds it.
#[derive(Debug, Default)]
pub(crate) struct PerVm<T>(Mutex<HashMap<VmId, Arc<T>>>);

/// The lock of each VM.
pub(crate) type Locks = PerVm<tokio::sync::Mutex<()>>;

/// What connections into each guest pass while they are being opened.
pub(crate) type Doors = PerVm<RwLock<()>>;

impl<T: Default> PerVm<T> {
    /// Those that nobody holds or waits for are dropped on the way, so there are never more than are in use.
    fn of(&self, vm: &VmId) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| Arc::strong_count(one) > 1);
        all.entry(vm.clone()).or_default().clone()
    }
}

impl Locks {
    /// Waits for this VM's lock.
    pub(crate) async fn lock(&self, vm: &VmId) -> OwnedMutexGuard<()> {
        self.of(vm).lock_owned().await
    }

    /// Whether somebody has it.
    pub(crate) fn is_held(&self, vm: &VmId) -> bool {
        self.of(vm).try_lock().is_err()
    }
}

impl Doors {
    /// Passes with others, unless the door is shut. Whether the guest is one to go in to is looked at behind it.
    async fn pass(&self, vm: &VmId) -> OwnedRwLockReadGuard<()> {
        self.of(vm).read_owned().await
    }

    /// Waits for those that are passing; whoever comes now waits until it opens again.
    async fn shut(&self, vm: &VmId) -> OwnedRwLockWriteGuard<()> {
        self.of(vm).write_owned().await
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

    #[tokio::test]
    async fn a_door_shuts_behind_those_who_are_passing_and_keeps_the_next_ones_out() {
        let (doors, vm) = (Doors::default(), VmId::random());
        let passing = [doors.pass(&vm).await, doors.pass(&vm).await];
        let shut = doors.shut(&vm);
        tokio::pin!(shut);
        assert!(now(&mut shut).is_none(), "it was shut on somebody");
        drop(passing);
        let shut = shut.await;
        let next = doors.pass(&vm);
        tokio::pin!(next);
        assert!(now(&mut next).is_none(), "somebody passed a shut door");
        drop(shut);
        drop(next.await);
    }

    /// What a future is now, if it is anything yet.
    fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        use std::task::{Context, Poll, Waker};
        match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}
