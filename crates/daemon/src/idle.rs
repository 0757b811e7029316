//! A daemon that nobody needs ends by itself, and its helper with it; the next command starts them again.
//!
//! Nobody needs it when for a while no client was connected, no operation was under way and no VM was up. The
//! decision and a client's arrival exclude each other ([`Clients`]): who comes before it is served and keeps the
//! daemon alive; who comes after it has the connection closed before a word was answered, as with any daemon that ends,
//! and tries again until there is a new one.

use crate::Services;
use crate::vm::VmState;
use banger_config::{Interval, ParseIntervalError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long nobody may need it.
const USUAL: Interval = Interval::seconds(300);
/// How long whoever started it may take to connect.
const EXPECTED: Duration = Duration::from_secs(30);

/// How long the daemon stays without being needed, by the value of `BANGER_IDLE_EXIT`; `None` is for ever.
pub(crate) fn limit(variable: Option<&str>) -> Result<Option<Duration>, ParseIntervalError> {
    match variable {
        None => Ok(Some(USUAL.duration())),
        Some("off") => Ok(None),
        Some(text) => Ok(Some(text.parse::<Interval>()?.duration())),
    }
}

/// Who is connected.
#[derive(Debug)]
pub(crate) struct Clients(Mutex<Presence>);

#[derive(Debug)]
struct Presence {
    count: usize,
    /// Nobody is let in any more.
    closed: bool,
    /// Whether somebody has been there.
    visited: bool,
    /// When somebody left last.
    left: Instant,
}

impl Default for Clients {
    fn default() -> Self {
        Self(Mutex::new(Presence { count: 0, closed: false, visited: false, left: Instant::now() }))
    }
}

/// A client counts as connected until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit(Arc<Clients>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Presence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in, unless the daemon is ending.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Visit> {
        let mut presence = self.lock();
        if presence.closed {
            return None;
        }
        presence.count += 1;
        presence.visited = true;
        Some(Visit(self.clone()))
    }

    /// Since when nobody is there; `None` while somebody is, or is expected.
    fn alone_since(&self) -> Option<Instant> {
        let presence = self.lock();
        let expected = !presence.visited && presence.left.elapsed() < EXPECTED;
        (presence.count == 0 && !expected).then_some(presence.left)
    }

    /// Lets nobody in any more, if nobody is there.
    fn close(&self) -> bool {
        let mut presence = self.lock();
        presence.closed = presence.count == 0;
        presence.closed
    }

    fn open(&self) {
        self.lock().closed = false;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut presence = self.0.lock();
        presence.count -= 1;
        presence.left = Instant::now();
    }
}

/// Tells the daemon to end once nobody has needed it for `limit`.
pub(crate) async fn end_when_idle(services: Arc<Services>, limit: Duration) {
    let mut needed = Instant::now();
    loop {
        sleep_until(needed + limit).await;
        let now = Instant::now();
        needed = match services.clients.alone_since() {
            None => now,
            Some(_) if is_at_work(&services) => now,
            Some(since) => since.max(needed),
        };
        if now < needed + limit || !services.clients.close() {
            continue;
        }
        // Whoever was there a moment ago may have left something to do; now nobody can.
        if is_at_work(&services) {
            services.clients.open();
            continue;
        }
        tracing::info!(?limit, "this daemon is no longer needed");
        services.stopping.cancel();
        return;
    }
}

/// Whether something is under way or up. What is recorded and cannot be read is nothing to stay for.
fn is_at_work(services: &Services) -> bool {
    if services.operations.any_running() {
        return true;
    }
    let is_up = |state: &VmState| !state.is_down() && *state != VmState::Damaged;
    match tokio::task::block_in_place(|| services.store.vms()) {
        Ok((vms, _)) => vms.iter().any(|vm| is_up(&vm.state)),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_let_in_once_it_is_closed_and_it_is_not_closed_on_anybody() {
        let clients = Arc::new(Clients::default());
        assert_eq!(clients.alone_since(), None, "whoever started it is expected");
        let (one, two) = (clients.enter().unwrap(), clients.enter().unwrap());
        assert_eq!(clients.alone_since(), None);
        drop(one);
        assert!(!clients.close(), "somebody is there");
        drop(two);
        assert!(clients.alone_since().is_some());
        assert!(clients.close());
        assert!(clients.enter().is_none());
        clients.open();
        assert!(clients.enter().is_some());
    }

    #[test]
    fn how_long_it_stays_is_a_span_of_time_or_off() {
        assert_eq!(limit(None), Ok(Some(Duration::from_secs(300))));
        assert_eq!(limit(Some("off")), Ok(None));
        assert_eq!(limit(Some("20ms")), Ok(Some(Duration::from_millis(20))));
        assert!(limit(Some("soon")).is_err());
    }
}
