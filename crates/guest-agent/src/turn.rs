//! Turns: work of the host that takes several connections, and of which there is one at a time.
//!
//! ```text
//!            ┌─ BeginTurn a ─▶ a ─ BeginTurn b ─▶ ending a ─(nothing of a is left)─▶ b
//!  no turn ──┘                                    InTurn a: refused
//! ```
//!
//! A host that is killed says nothing. The connection that it leaves behind may still be carried out here when the next host
//! comes, and a request of its may still be on the way. So the next one begins a turn of another name: connections of the
//! turn before are shut down, everything that they do is waited for, and those that come later are refused. When a turn has
//! begun, nothing else of the host's works on what it is about.

use banger_protocol::ids::TurnId;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::Shutdown;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long what was cut off may take to be gone: more than a command gets before and after it is killed.
const LONGEST_END: Duration = Duration::from_secs(20);

/// The turns of one guest.
#[derive(Debug, Default)]
pub struct Turns {
    state: Mutex<State>,
    /// Signalled when a part is over.
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    current: Option<TurnId>,
    parts: Vec<(u64, TurnId, OwnedFd)>,
    parts_made: u64,
}

/// A connection that is part of a turn; over on drop.
#[derive(Debug)]
pub struct Part<'t> {
    turns: &'t Turns,
    number: u64,
}

/// Why there is no turn.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TurnError {
    #[error("another command has begun to work on this")]
    Over,
    #[error("what an earlier command runs in the guest does not end")]
    DoesNotEnd,
    #[error("the connection cannot be kept")]
    Keep(#[source] rustix::io::Errno),
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it this one's turn, and waits until nothing of any other is left.
    ///
    /// # Errors
    /// When something is.
    pub fn begin(&self, turn: &TurnId) -> Result<(), TurnError> {
        let mut state = self.state();
        state.current = Some(turn.clone());
        for (_, _, connection) in state.parts.iter().filter(|(_, other, _)| other != turn) {
            // One that the host has closed is shut down already.
            let _ = rustix::net::shutdown(connection, Shutdown::Both);
        }
        let others = |state: &mut State| state.parts.iter().any(|(_, other, _)| other != turn);
        let waited = self.over.wait_timeout_while(state, LONGEST_END, others);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            return Err(TurnError::DoesNotEnd);
        }
        Ok(())
    }

    /// Has a connection be part of a turn.
    ///
    /// # Errors
    /// When it is another's turn.
    pub fn join(&self, turn: &TurnId, connection: impl AsFd) -> Result<Part<'_>, TurnError> {
        let connection = rustix::io::fcntl_dupfd_cloexec(connection, 0).map_err(TurnError::Keep)?;
        let mut state = self.state();
        if state.current.as_ref() != Some(turn) {
            return Err(TurnError::Over);
        }
        state.parts_made += 1;
        let number = state.parts_made;
        state.parts.push((number, turn.clone(), connection));
        Ok(Part { turns: self, number })
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.turns.state().parts.retain(|(number, ..)| *number != self.number);
        self.turns.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_turn_begins_when_what_the_one_before_did_is_over() {
        let turns = Turns::default();
        let (first, second) = (TurnId::random(), TurnId::random());
        turns.begin(&first).unwrap();
        let (mut guest, _host) = UnixStream::pair().unwrap();
        let part = turns.join(&first, &guest).unwrap();
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| turns.begin(&second));
            // It is cut off, whether the host has gone or not.
            assert_eq!(guest.read(&mut [0]).unwrap(), 0);
            assert!(!begun.is_finished(), "it did not wait");
            drop(part);
            assert_eq!(begun.join().unwrap(), Ok(()));
        });
        turns.join(&second, &guest).unwrap();
    }

    #[test]
    fn what_comes_late_of_a_turn_that_is_over_is_refused() {
        let turns = Turns::default();
        let (first, second) = (TurnId::random(), TurnId::random());
        let (guest, _host) = UnixStream::pair().unwrap();
        assert_eq!(turns.join(&first, &guest).unwrap_err(), TurnError::Over);
        turns.begin(&first).unwrap();
        turns.begin(&second).unwrap();
        assert_eq!(turns.join(&first, &guest).unwrap_err(), TurnError::Over);
    }
}
