//! Standard input on its way into the guest.

use super::detach_keys::Scanner;
use super::exec::Writer;
use banger_protocol::guest_api::STDIN_WINDOW;
use banger_protocol::guest_api::frame::{Kind, MAX_PAYLOAD};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::sync::{Condvar, Mutex, PoisonError};

/// How many bytes the agent still takes.
#[derive(Debug)]
pub(super) struct Window {
    open: Mutex<usize>,
    opened: Condvar,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(WIDEST), opened: Condvar::new() }
    }

    /// Waits until it is open by more than `least`, and says how far.
    fn wait(&self, least: usize) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *self.opened.wait_while(open, |open| *open <= least).unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(bytes);
    }

    /// Opens it again by what the agent took; never wider than at first, whatever the guest claims.
    pub(super) fn give(&self, credit: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_add(usize::try_from(credit).unwrap_or(WIDEST)).min(WIDEST);
        self.opened.notify_one();
    }
}

const WIDEST: usize = STDIN_WINDOW as usize;

/// Why no more input is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// There is none, or nobody to take it.
    Over,
    /// The keys that detach were among it.
    Detached,
}

/// Passes `from` on until it ends, the agent is gone, or `scanner` finds the keys that detach. Whoever ends first ends
/// this: the thread it runs in is not waited for, since a read of a terminal cannot be called off.
pub(super) fn forward(
    from: BorrowedFd<'_>,
    window: &Window,
    writer: &Writer,
    mut scanner: Scanner,
) -> InputEnd {
    let mut chunk = vec![0_u8; MAX_PAYLOAD];
    loop {
        // What the scanner has held back may come on top of what is read.
        let held = scanner.held();
        let room = (window.wait(held) - held).min(MAX_PAYLOAD - held);
        let sent = match rustix::io::read(from, &mut chunk[..room]) {
            // EIO: the terminal was hung up.
            Ok(0) | Err(Errno::IO) => {
                let _ = writer.send(Kind::StdinEnd, &[]);
                return InputEnd::Over;
            }
            Ok(count) => {
                let scanned = scanner.scan(&chunk[..count]);
                window.take(scanned.passed.len());
                let sent = writer.send(Kind::Stdin, &scanned.passed);
                if scanned.is_detached {
                    return InputEnd::Detached;
                }
                sent
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                let mut ready = [rustix::event::PollFd::from_borrowed_fd(from, rustix::event::PollFlags::IN)];
                let _ = rustix::event::poll(&mut ready, None);
                continue;
            }
            // A closed or unreadable stdin is an empty one.
            Err(_) => {
                let _ = writer.send(Kind::StdinEnd, &[]);
                return InputEnd::Over;
            }
        };
        if sent.is_err() {
            return InputEnd::Over;
        }
    }
}

/// Passes these bytes on and says that they were all. The agent's going away ends it early.
pub(super) fn feed(mut bytes: &[u8], window: &Window, writer: &Writer) {
    while !bytes.is_empty() {
        let room = window.wait(0).min(MAX_PAYLOAD).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        window.take(room);
        if writer.send(Kind::Stdin, now).is_err() {
            return;
        }
        bytes = later;
    }
    let _ = writer.send(Kind::StdinEnd, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_by_what_was_taken_and_never_wider_than_at_first() {
        let window = Window::new();
        window.take(WIDEST - 10);
        assert_eq!(window.wait(9), 10);
        window.give(5);
        assert_eq!(window.wait(10), 15);
        window.give(u32::MAX);
        assert_eq!(window.wait(0), WIDEST);
    }
}
