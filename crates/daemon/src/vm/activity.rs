//! Who uses a VM, and how much it uses: what has been seen of each that runs.
//!
//! A command that names a VM uses it, and so does whoever has a connection into it open: a shell, a command, a copy, an
//! ssh session. Nothing of this is written down; a daemon that has just been started counts from then.

use super::state::{Running, VmState};
use banger_protocol::ids::VmId;
use banger_protocol::root_api::VSOCK_SOCKET;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<HashMap<VmId, Seen>>);

#[derive(Debug)]
struct Seen {
    used: Instant,
    /// When it was looked at last, and what of processor time it had taken by then.
    sample: Option<(Instant, Duration)>,
    /// Of one processor, between the last two looks.
    cpu_percent: Option<u64>,
}

impl Seen {
    fn now() -> Self {
        Self { used: Instant::now(), sample: None, cpu_percent: None }
    }
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody uses it now.
    pub(super) fn touch(&self, vm: &VmId) {
        self.lock().entry(vm.clone()).or_insert_with(Seen::now).used = Instant::now();
    }

    /// How long nobody has used it. One that is seen for the first time counts as used.
    pub(super) fn unused_for(&self, vm: &VmId) -> Duration {
        self.lock().entry(vm.clone()).or_insert_with(Seen::now).used.elapsed()
    }

    /// Takes down what a VM's process has used by now.
    pub(super) fn sample(&self, vm: &VmId, now: Instant, cpu: Duration) {
        let mut all = self.lock();
        let seen = all.entry(vm.clone()).or_insert_with(Seen::now);
        seen.cpu_percent = seen.sample.and_then(|(before, used)| {
            let passed = now.checked_duration_since(before)?.as_micros();
            // A VM that was started again begins from nothing.
            u64::try_from((cpu.checked_sub(used)?.as_micros() * 100).checked_div(passed)?).ok()
        });
        seen.sample = Some((now, cpu));
    }

    pub(super) fn cpu_percent(&self, vm: &VmId) -> Option<u64> {
        self.lock().get(vm)?.cpu_percent
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, is_kept: impl Fn(&VmId) -> bool) {
        self.lock().retain(|vm, _| is_kept(vm));
    }
}

/// Whether somebody has a connection into a guest open. Where that cannot be told, somebody has.
pub(super) fn is_connected(running: &Running, folder: &Path) -> bool {
    let server = running.vsock_backend.unwrap_or(running.vmm);
    crate::sockets::connections(server.pid, folder, VSOCK_SOCKET).map_or(true, |count| count > 0)
}

/// Whether a VM shall be stopped because nobody has used it for `unused`. Pure.
///
/// Who pauses a VM wants it to stay, and one with a lease belongs to somebody who waits for it.
pub(super) fn is_stale(state: &VmState, leased: bool, unused: Duration, limit: Option<Duration>) -> bool {
    let runs = match state {
        VmState::Running(_) => true,
        VmState::Created
        | VmState::Starting
        | VmState::Paused(_)
        | VmState::Stopping(_)
        | VmState::Stopped { .. }
        | VmState::Failed { .. }
        | VmState::Damaged => false,
    };
    runs && !leased && limit.is_some_and(|limit| unused >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_of_one_processor_and_begins_anew_with_every_start() {
        let (activity, vm, begun) = (Activity::default(), VmId::random(), Instant::now());
        let second = Duration::from_secs(1);
        let percent = |after, used_ms| {
            activity.sample(&vm, begun + after, Duration::from_millis(used_ms));
            activity.cpu_percent(&vm)
        };
        assert_eq!(percent(second, 500), None);
        assert_eq!(percent(second * 3, 2000), Some(75));
        assert_eq!(percent(second * 4, 4000), Some(200));
        assert_eq!(percent(second * 4, 4000), None, "no time has passed");
        assert_eq!(percent(second * 5, 100), None, "it was started again");
        activity.keep_only(|_| false);
        assert_eq!(activity.cpu_percent(&vm), None);
    }

    #[test]
    fn only_a_running_vm_that_belongs_to_nobody_is_ever_stale() {
        use crate::vm::state::tests::every_state;
        let limit = Duration::from_secs(60);
        for state in every_state() {
            let runs = matches!(state, VmState::Running(_));
            assert_eq!(is_stale(&state, false, limit, Some(limit)), runs, "{state:?}");
            assert!(!is_stale(&state, false, limit - Duration::from_millis(1), Some(limit)));
            assert!(!is_stale(&state, false, limit * 1000, None));
            assert!(!is_stale(&state, true, limit * 1000, Some(limit)));
        }
    }

    #[test]
    fn whoever_is_seen_for_the_first_time_counts_as_used() {
        let (activity, vm) = (Activity::default(), VmId::random());
        assert!(activity.unused_for(&vm) < Duration::from_secs(5));
        let before = activity.unused_for(&vm);
        assert!(activity.unused_for(&vm) >= before, "looking is not using");
        activity.touch(&vm);
        assert!(activity.unused_for(&vm) < Duration::from_secs(5));
    }
}
