//! How much of something each guest may hold, and all of them together: what one takes, no other has to miss.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// So many for each guest, and so many for all.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    each: usize,
    all: usize,
    held: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
}

/// One of a guest's share, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Shares,
    guest: Ipv4Addr,
}

impl Shares {
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self { each, all, held: Arc::default() }
    }

    /// One more for a guest, unless it has its share or there is none left.
    pub(super) fn take(&self, guest: Ipv4Addr) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(&guest).copied().unwrap_or(0);
        if own >= self.each || held.values().sum::<usize>() >= self.all {
            return None;
        }
        held.insert(guest, own + 1);
        Some(Share { of: self.clone(), guest })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.get_mut(&self.guest) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.guest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_its_share_and_no_more_and_gives_it_back() {
        let shares = Shares::new(2, 3);
        let [greedy, modest, late] = [1, 2, 3].map(|last| Ipv4Addr::new(172, 16, 0, last));
        let held = [shares.take(greedy), shares.take(greedy)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(greedy).is_none(), "more than its share");
        let other = shares.take(modest);
        assert!(other.is_some(), "another's share was taken");
        assert!(shares.take(late).is_none(), "more than there is");
        drop(held);
        assert!(shares.take(late).is_some());
        drop(other);
        assert!(shares.held.lock().unwrap().is_empty(), "guests that hold nothing are remembered");
    }
}
