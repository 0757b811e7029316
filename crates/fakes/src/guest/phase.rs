//! How far the guest has come up; only ever forwards.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Booting,
    Agent,
    Usable,
}

#[derive(Debug)]
pub(super) struct Phases {
    now: Mutex<Phase>,
    changed: Condvar,
}

impl Phases {
    pub(super) fn new(now: Phase) -> Self {
        Self { now: Mutex::new(now), changed: Condvar::new() }
    }

    pub(super) fn now(&self) -> Phase {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }

    pub(super) fn wait_for(&self, phase: Phase) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(now, |now| *now < phase));
    }
}
