//! Standard input on its way into the guest.

use super::exec::Writer;
use banger_protocol::guest_api::STDIN_WINDOW;
use banger_protocol::guest_api::frame::{Kind, MAX_PAYLOAD};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

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

    /// Waits until it is open, and says how far.
    fn wait(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *self.opened.wait_while(open, |open| *open == 0).unwrap_or_else(PoisonError::into_inner)
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

/// Passes `from` on until it ends or the agent is gone. Whoever ends first ends this: the thread it runs in is
/// not waited for, since a read of a terminal cannot be called off.
pub(super) fn forward(from: BorrowedFd<'_>, window: &Window, writer: &Arc<Writer>) {
    let mut chunk = vec![0_u8; MAX_PAYLOAD];
    loop {
        let room = window.wait().min(MAX_PAYLOAD);
        let sent = match rustix::io::read(from, &mut chunk[..room]) {
            // EIO: the terminal was hung up.
            Ok(0) | Err(Errno::IO) => {
                let _ = writer.send(Kind::StdinEnd, &[]);
                return;
            }
            Ok(count) => {
                window.take(count);
                writer.send(Kind::Stdin, &chunk[..count])
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
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_by_what_was_taken_and_never_wider_than_at_first() {
        let window = Window::new();
        window.take(WIDEST - 10);
        assert_eq!(window.wait(), 10);
        window.give(5);
        assert_eq!(window.wait(), 15);
        window.give(u32::MAX);
        assert_eq!(window.wait(), WIDEST);
    }
}
