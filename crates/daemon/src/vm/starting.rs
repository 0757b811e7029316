//! Starts under way, so that whoever takes a VM down can call them off.
//!
//! A start may hold its VM's lock for as long as a guest takes to come up, so a stop or a delete cannot just wait for
//! the lock: it calls off the start that has it, those that wait for it, and those that come while it waits itself.

use crate::Services;
use banger_protocol::ids::{OperationId, VmId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedMutexGuard};

#[derive(Debug, Default)]
pub(crate) struct Starting {
    operations: Mutex<HashMap<VmId, Vec<OperationId>>>,
    noted: Notify,
}

/// A start counts as under way until this is dropped.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    starting: &'a Starting,
    vm: VmId,
    operation: OperationId,
}

impl Starting {
    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, Vec<OperationId>>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, vm: &VmId, operation: &OperationId) -> Noted<'_> {
        self.lock().entry(vm.clone()).or_default().push(operation.clone());
        self.noted.notify_waiters();
        Noted { starting: self, vm: vm.clone(), operation: operation.clone() }
    }

    /// Whether somebody starts it, or waits to.
    pub(super) fn includes(&self, vm: &VmId) -> bool {
        self.lock().contains_key(vm)
    }

    fn of(&self, vm: &VmId) -> Vec<OperationId> {
        self.lock().get(vm).cloned().unwrap_or_default()
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut operations = self.starting.lock();
        if let Some(noted) = operations.get_mut(&self.vm) {
            noted.retain(|operation| *operation != self.operation);
            if noted.is_empty() {
                operations.remove(&self.vm);
            }
        }
    }
}

/// The VM's lock, with no start of it under way: each has released what it held. What was being started stays.
pub(super) async fn lock_calling_off(services: &Services, vm: &VmId) -> OwnedMutexGuard<()> {
    loop {
        // Made before looking, so that a start noted after the look is not missed.
        let another = services.starting.noted.notified();
        for operation in services.starting.of(vm) {
            if let Err(error) = services.operations.call_off(&operation).await {
                tracing::debug!(%vm, %error, "the start was already forgotten");
            }
        }
        tokio::select! {
            lock = services.locks.lock(vm) => return lock,
            () = another => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_known_while_it_lasts_and_leaves_no_entry() {
        let (starting, vm) = (Starting::default(), VmId::random());
        let (one, two) = (OperationId::random(), OperationId::random());
        let first = starting.note(&vm, &one);
        let second = starting.note(&vm, &two);
        assert_eq!(starting.of(&vm), [one, two.clone()]);
        drop(first);
        assert_eq!(starting.of(&vm), [two]);
        assert!(starting.includes(&vm));
        drop(second);
        assert!(starting.lock().is_empty());
    }
}
