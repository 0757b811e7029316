//! Whether the guest stands still.
//!
//! Its threads pass by here before each step that somebody could notice. A command that it runs is a process of
//! this machine and goes on, but what it says does not get out.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Hold {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Hold {
    pub(super) fn set(&self, held: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.changed.notify_all();
    }

    /// Waits while the guest is held.
    pub(super) fn pass(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(held, |held| *held));
    }
}
