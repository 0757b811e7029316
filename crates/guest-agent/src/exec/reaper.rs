//! The one place that collects this process's dead children.
//!
//! The agent is a subreaper: whatever a command leaves behind becomes its child in the end. So there are children
//! it started and wants to hear about, and others that merely must not stay zombies. One thread collects both; a
//! child is entered in the table under the same lock that collecting takes, so that no exit can be missed, and a
//! pid is used for signals only under that lock too, so that it cannot have been given to somebody else.

use crate::sys::signals;
use banger_protocol::guest_api::Exit;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A process's children are the process's own, hence the one static.
static REAPER: LazyLock<Reaper> = LazyLock::new(Reaper::begin);

const STACK: usize = 64 * 1024;

struct Reaper {
    started: Mutex<HashMap<i32, Sender<Exit>>>,
    /// Signalled at every start; waited for while there is no child at all.
    some: Condvar,
}

/// A command that was started. Dropping it forgets it: it runs on and is collected like an orphan.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// Readable once the process ended.
    pub(super) ended: OwnedFd,
    exit: Receiver<Exit>,
}

impl Child {
    /// How it ended; blocks until it has.
    pub(super) fn exit(&self) -> Exit {
        self.exit.recv().expect("a child stays in the table until its exit was sent")
    }

    /// Sends `signal` to the process group the child leads, if it still lives.
    pub(super) fn signal_group(&self, signal: u8) {
        let table = REAPER.table();
        if table.contains_key(&self.pid.as_raw_nonzero().get()) {
            // A number that is no signal, or a group that just emptied, changes nothing.
            let _ = signals::kill_group(self.pid, signal);
        }
    }
}

/// Starts `command` as a child whose exit will be told to the returned [`Child`].
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut table = REAPER.table();
    let pid = command.spawn()?.id();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid is a positive i32");
    let (sender, exit) = channel();
    table.insert(pid.as_raw_nonzero().get(), sender);
    REAPER.some.notify_one();
    // Nothing collects while the table is held, so this is still the same process.
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Child { pid, ended, exit })
}

impl Reaper {
    fn begin() -> Self {
        thread::Builder::new()
            .name("reaper".to_owned())
            .stack_size(STACK)
            .spawn(|| REAPER.collect_forever())
            .expect("the agent's first thread can be started");
        Self { started: Mutex::default(), some: Condvar::new() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<i32, Sender<Exit>>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect_forever(&self) {
        loop {
            // Only looks: collecting happens under the lock.
            let waited = rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let mut table = self.table();
            if matches!(waited, Err(Errno::CHILD)) && table.is_empty() {
                drop(self.some.wait(table).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                if let Some(sender) = table.remove(&pid.as_raw_nonzero().get()) {
                    // Nobody listens any more when the host went away.
                    let _ = sender.send(exit_of(status));
                }
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match status.terminating_signal() {
        Some(signal) => Exit::Signal(byte(signal)),
        None => Exit::Code(byte(status.exit_status().unwrap_or(0))),
    }
}
