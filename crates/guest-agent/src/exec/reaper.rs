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
const KILL: u8 = 9;

struct Reaper {
    started: Mutex<Started>,
    /// Signalled at every start; waited for while there is no child at all.
    some: Condvar,
}

/// The children that somebody wants to hear about, by pid.
#[derive(Default)]
struct Started {
    children: HashMap<i32, Entry>,
    /// How many there have been; a number that no two of them share, as two may a pid.
    count: u64,
}

struct Entry {
    number: u64,
    exit: Sender<Exit>,
    /// Whether what is left of its process group is killed when it ends.
    takes_its_group: bool,
}

/// A command that was started. Dropping it forgets it: it runs on and is collected like an orphan.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) group: Group,
    /// Readable once the process ended.
    pub(crate) ended: OwnedFd,
    exit: Receiver<Exit>,
}

/// The process group that a child leads. Nothing here acts on it any more once the child was collected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pid: Pid,
    number: u64,
}

impl Child {
    /// How it ended; blocks until it has.
    pub(crate) fn exit(&self) -> Exit {
        self.exit.recv().expect("a child stays in the table until its exit was sent")
    }
}

impl Group {
    pub(crate) fn pid(self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn signal(self, signal: u8) {
        self.act(|_| {
            // A number that is no signal, or a group that just emptied, changes nothing.
            let _ = signals::kill_group(self.pid, signal);
        });
    }

    /// From now on, whatever is left of the group when the child ends is killed.
    pub(crate) fn ends_with_its_leader(self) {
        self.act(|entry| entry.takes_its_group = true);
    }

    /// Kills what is left of it, which the caller knows not to be nothing: a group's number is given to no other while there
    /// is a process of it, even when its leader was collected long ago.
    pub(super) fn kill_the_rest(self) {
        let table = REAPER.table();
        let leader = table.children.get(&self.pid.as_raw_nonzero().get());
        if leader.is_none_or(|entry| entry.number == self.number) {
            let _ = signals::kill_group(self.pid, KILL);
        }
    }

    fn act(self, action: impl FnOnce(&mut Entry)) {
        let mut table = REAPER.table();
        let entry = table.children.get_mut(&self.pid.as_raw_nonzero().get());
        entry.filter(|entry| entry.number == self.number).map(action);
    }
}

/// Starts `command` as a child whose exit will be told to the returned [`Child`].
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut table = REAPER.table();
    let pid = command.spawn()?.id();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid is a positive i32");
    let (sender, exit) = channel();
    table.count += 1;
    let group = Group { pid, number: table.count };
    let entry = Entry { number: group.number, exit: sender, takes_its_group: false };
    table.children.insert(pid.as_raw_nonzero().get(), entry);
    REAPER.some.notify_one();
    // Nothing collects while the table is held, so this is still the same process.
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Child { group, ended, exit })
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

    fn table(&self) -> MutexGuard<'_, Started> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect_forever(&self) {
        loop {
            // Only looks: collecting happens under the lock.
            let waited = rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let mut table = self.table();
            if matches!(waited, Err(Errno::CHILD)) && table.children.is_empty() {
                drop(self.some.wait(table).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            while let Some(pid) = signals::dead_child() {
                let entry = table.children.remove(&pid.as_raw_nonzero().get());
                if entry.as_ref().is_some_and(|entry| entry.takes_its_group) {
                    // Not collected yet, its pid is still nobody else's, nor is its group's.
                    let _ = signals::kill_group(pid, KILL);
                }
                let Ok(Some((_, status))) = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) else {
                    break;
                };
                // Nobody listens any more when the host went away.
                entry.map(|entry| entry.exit.send(exit_of(status)));
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
