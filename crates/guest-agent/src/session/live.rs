//! One session: what everybody who has to do with it shares.
//!
//! The keeper puts in what the command writes ([`super::keeper`]), clients take it out and hand input on
//! ([`super::client`]). Whatever happens, they are woken. The lock is held for a few kilobytes of a file at a time and
//! never while anybody is waited for.

use super::cgroup::Cgroup;
use super::ring::{Mark, Piece, Ring};
use crate::exec::reaper::Group;
use crate::exec::spawn;
use banger_protocol::guest_api::frame::Kind;
use banger_protocol::guest_api::session::{self as api, MOST_CLIENTS, Refusal};
use banger_protocol::guest_api::{Exit, WindowSize};
use banger_protocol::names::SessionName;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what was killed may take to be gone.
const DYING: Duration = Duration::from_secs(5);
const HANGUP: u8 = 1;
const KILL: u8 = 9;
const TERMINATE: u8 = 15;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) about: About,
    group: Group,
    cgroup: Option<Cgroup>,
    state: Mutex<State>,
    /// Signalled at its end.
    end: Condvar,
}

/// What does not change.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: SessionName,
    pub(super) argv: Vec<String>,
    pub(super) user: String,
    pub(super) terminal: bool,
    pub(super) started: Instant,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    /// Where input goes: a pipe, or the terminal.
    input: Option<Arc<OwnedFd>>,
    /// Who is here; the one that gave a size last comes last.
    seats: Vec<Seated>,
    seats_given: u64,
    end: Option<(Exit, Instant)>,
}

#[derive(Debug)]
struct Seated {
    number: u64,
    wake: Arc<OwnedFd>,
    is_attached: bool,
    size: Option<WindowSize>,
}

/// A client's place with a session, given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    session: Arc<Session>,
    number: u64,
    /// Readable when something has happened.
    pub(super) wake: Arc<OwnedFd>,
}

impl Session {
    pub(super) fn new(
        about: About,
        group: Group,
        cgroup: Option<Cgroup>,
        ring: Ring,
        input: Option<OwnedFd>,
    ) -> Self {
        let input = input.map(Arc::new);
        let state = State { ring, input, seats: Vec::new(), seats_given: 0, end: None };
        Self { about, group, cgroup, state: Mutex::new(state), end: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self) -> api::Session {
        let state = self.state();
        let milliseconds = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_attached = |seat: &&Seated| seat.is_attached;
        api::Session {
            name: self.about.name.clone(),
            argv: self.about.argv.clone(),
            user: self.about.user.clone(),
            terminal: self.about.terminal,
            pid: self.group.pid(),
            state: match &state.end {
                None => api::State::Running,
                Some((exit, at)) => api::State::Ended { exit: exit.clone(), ago_ms: milliseconds(*at) },
            },
            age_ms: milliseconds(self.about.started),
            written: state.ring.written(),
            dropped: state.ring.dropped(),
            attached: u32::try_from(state.seats.iter().filter(is_attached).count()).unwrap_or(u32::MAX),
        }
    }

    /// How it ended, if it has; everything it wrote is kept by then.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.state().end.as_ref().map(|(exit, _)| exit.clone())
    }

    /// The command wrote something.
    pub(super) fn wrote(&self, output: Kind, bytes: &[u8]) {
        let mut state = self.state();
        state.ring.append(output, bytes);
        state.wake_all();
    }

    /// The command has ended, and nothing more comes from it.
    pub(super) fn ended(&self, exit: Exit) {
        let mut state = self.state();
        state.end = Some((exit, Instant::now()));
        state.input = None;
        state.wake_all();
        self.end.notify_all();
    }

    /// The next piece of output for who has come as far as `mark`.
    pub(super) fn next(&self, mark: &mut Mark) -> Option<Piece> {
        self.state().ring.next(mark)
    }

    pub(super) fn recent(&self) -> (Mark, bool) {
        self.state().ring.recent()
    }

    pub(super) fn head(&self) -> Mark {
        self.state().ring.head()
    }

    /// Where input goes now, if anywhere.
    pub(super) fn input(&self) -> Option<Arc<OwnedFd>> {
        self.state().input.clone()
    }

    /// Why there is nowhere for it to go.
    pub(super) fn takes_no_input(&self) -> Refusal {
        let name = self.about.name.clone();
        match self.exit() {
            Some(exit) => Refusal::HasEnded { name, exit },
            None => Refusal::NoInput { name },
        }
    }

    /// No more input for the command, whoever has some.
    pub(super) fn end_input(&self) {
        let mut state = self.state();
        state.input = None;
        // Others may be holding it while they wait for room in it.
        state.wake_all();
    }

    /// Sends a signal to the command's process group.
    pub(super) fn signal(&self, signal: u8) -> Result<(), Refusal> {
        match self.exit() {
            Some(exit) => Err(Refusal::HasEnded { name: self.about.name.clone(), exit }),
            None => {
                self.group.signal(signal);
                Ok(())
            }
        }
    }

    /// Ends the command and everything it has started, gently for as long as `grace`.
    pub(super) fn stop(&self, grace: Duration) -> Result<(), Refusal> {
        self.group.ends_with_its_leader();
        self.signal(TERMINATE)?;
        if self.about.terminal {
            // An interactive shell ends only when its terminal does.
            self.group.signal(HANGUP);
        }
        let has_ended = self.wait_for_end(grace) || {
            self.group.signal(KILL);
            self.wait_for_end(DYING)
        };
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill(DYING);
        }
        if has_ended || self.wait_for_end(DYING) {
            Ok(())
        } else {
            Err(Refusal::WouldNotEnd { name: self.about.name.clone() })
        }
    }

    fn wait_for_end(&self, limit: Duration) -> bool {
        let waited = self.end.wait_timeout_while(self.state(), limit, |state| state.end.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.end.is_some()
    }

    /// A place for a client; `size` is given by one that is attached from a terminal.
    pub(super) fn sit_down(
        self: &Arc<Self>,
        is_attached: bool,
        size: Option<WindowSize>,
    ) -> Result<Seat, Refusal> {
        let too_many = || Refusal::TooManyClients { name: self.about.name.clone() };
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|_| too_many())?;
        let wake = Arc::new(wake);
        let mut state = self.state();
        if state.seats.len() >= MOST_CLIENTS {
            return Err(too_many());
        }
        state.seats_given += 1;
        let number = state.seats_given;
        state.seats.push(Seated { number, wake: Arc::clone(&wake), is_attached, size });
        if size.is_some() {
            self.resize_anew(&state);
        }
        drop(state);
        Ok(Seat { session: Arc::clone(self), number, wake })
    }

    /// Gives the terminal the size of whoever gave one last.
    fn resize(&self, state: &State) {
        let size = state.seats.iter().rev().find_map(|seat| seat.size);
        if let (true, Some(terminal), Some(size)) = (self.about.terminal, &state.input, size) {
            // A terminal that just went away needs no size.
            let _ = spawn::resize(terminal, size);
        }
    }

    /// The same by way of another size, so that a program draws its screen again even if the size is what it was.
    fn resize_anew(&self, state: &State) {
        if let (true, Some(terminal), Some(seat)) = (self.about.terminal, &state.input, state.seats.last())
            && let Some(size) = seat.size
        {
            let _ = spawn::resize(terminal, WindowSize { rows: size.rows.saturating_sub(1).max(1), ..size });
        }
        self.resize(state);
    }
}

impl State {
    fn wake_all(&self) {
        for seat in &self.seats {
            wake(&seat.wake);
        }
    }
}

/// Counts one more event; a counter that is full is not forgotten either.
fn wake(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

impl Seat {
    /// Forgets what has happened so far.
    pub(super) fn rest(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    /// The client's terminal has this size from now on.
    pub(super) fn resize(&self, size: WindowSize) {
        let mut state = self.session.state();
        if let Some(at) = state.seats.iter().position(|seat| seat.number == self.number) {
            let mut seat = state.seats.remove(at);
            seat.size = Some(size);
            state.seats.push(seat);
            self.session.resize(&state);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.seats.retain(|seat| seat.number != self.number);
        self.session.resize(&state);
    }
}
