//! One start at a time for each VM: a second one must find what the first has started.
//!
//! Starting a program means waiting for its exec, which VMs must not do for each other.

use banger_protocol::ids::VmId;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enough for VMs rarely to share one, few enough to need no tidying.
const TURNS: usize = 64;

/// VMs with the same end of their ids share a turn.
#[derive(Debug)]
pub(crate) struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self([const { Mutex::new(()) }; TURNS])
    }
}

impl Turns {
    /// Waits for a VM's turn, which ends when this is dropped.
    pub(crate) fn take(&self, vm: &VmId) -> MutexGuard<'_, ()> {
        let digits = vm.as_str();
        let end =
            usize::from_str_radix(&digits[digits.len() - 2..], 16).expect("an id is hexadecimal digits");
        // Whoever panicked has left nothing behind that looking again would not find.
        self.0[end % TURNS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
