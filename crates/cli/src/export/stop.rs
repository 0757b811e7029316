//! Ctrl-C in the middle of an export.
//!
//! The signal only ends what is under way, the connection or the git that runs; whoever waited for it fails, and on
//! the way out everything temporary is removed as after any failure.

use crate::failure::{Failure, Outcome};
use crate::signals::{Directed, Signals, asks_to_end, exit_code};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<Mutex<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    /// The signal that asked to end, if one did.
    asked: Option<i32>,
    connection: Option<UnixStream>,
    child: Option<OwnedFd>,
}

impl Stop {
    /// Obeys signals until the answer is dropped.
    pub(crate) fn obey<'a>(&self, signals: &'a Signals) -> Directed<'a> {
        let stop = self.clone();
        signals.direct(move |signal| {
            if asks_to_end(signal) {
                stop.ask(signal);
            }
        })
    }

    fn ask(&self, signal: i32) {
        let mut under_way = self.lock();
        under_way.asked.get_or_insert(signal);
        under_way.end();
    }

    /// This connection is what is under way.
    pub(crate) fn connected(&self, connection: &UnixStream) {
        let mut under_way = self.lock();
        under_way.connection = connection.try_clone().ok();
        under_way.end_if_asked();
    }

    /// This child is what is under way; it has not been waited for.
    pub(crate) fn started(&self, child: &Child) {
        let mut under_way = self.lock();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        under_way.child = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        under_way.end_if_asked();
    }

    /// An interrupted command says nothing and has the signal's code.
    pub(crate) fn judge(&self, outcome: Outcome) -> Outcome {
        match (self.lock().asked, outcome) {
            (Some(signal), Err(_)) => Err(Failure::quiet(exit_code(signal))),
            (_, outcome) => outcome,
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn end_if_asked(&self) {
        if self.asked.is_some() {
            self.end();
        }
    }

    /// What has ended by itself is ended without effect.
    fn end(&self) {
        if let Some(connection) = &self.connection {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(child) = &self.child {
            let _ = pidfd_send_signal(child, Signal::KILL);
        }
    }
}
