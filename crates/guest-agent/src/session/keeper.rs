//! The thread that a session has while its command runs: it reads what the command writes, always and at once, so
//! that no client, however slow, is ever waited for.

use super::live::Session;
use crate::exec::ended::{Ended, timespec};
use crate::exec::reaper::Child;
use banger_protocol::guest_api::Exit;
use banger_protocol::guest_api::frame::Kind;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

const CHUNK: usize = 16 * 1024;

/// The outputs that are still open.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Keeps the session until its command has ended and everything that it wrote was read.
pub(super) fn keep(session: &Session, child: &Child, mut outputs: Outputs) {
    session.ended(read_until_the_end(session, child, &mut outputs));
}

fn read_until_the_end(session: &Session, child: &Child, outputs: &mut Outputs) -> Exit {
    let mut buffer = vec![0; CHUNK];
    let mut ended: Option<Ended> = None;
    loop {
        let patience = ended.as_ref().map(Ended::patience);
        let watched =
            [outputs.stdout.as_ref(), outputs.stderr.as_ref(), ended.is_none().then_some(&child.ended)];
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .filter_map(|&fd| Some(PollFd::from_borrowed_fd(fd?.as_fd(), PollFlags::IN)))
            .collect();
        if poll(&mut fds, patience.map(timespec).as_ref()).is_err_and(|errno| errno != Errno::INTR) {
            return child.exit();
        }
        let mut answers = fds.iter().map(PollFd::revents);
        let [stdout, stderr, end] =
            watched.map(|fd| fd.and_then(|_| answers.next()).is_some_and(|flags| !flags.is_empty()));
        drop(fds);

        let mut heard = false;
        for (fd, is_ready, kind) in
            [(&mut outputs.stdout, stdout, Kind::Stdout), (&mut outputs.stderr, stderr, Kind::Stderr)]
        {
            let Some(open) = fd.as_ref().filter(|_| is_ready) else { continue };
            match rustix::io::read(open, &mut *buffer) {
                Ok(count) if count > 0 => {
                    heard = true;
                    session.wrote(kind, &buffer[..count]);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The end of a pipe is nothing read; that of a terminal is an I/O error.
                Ok(_) | Err(_) => *fd = None,
            }
        }
        match &mut ended {
            None if end => ended = Some(Ended::now(child.exit())),
            None => {}
            Some(ended) if heard => ended.heard(),
            Some(_) => {}
        }
        let closed = outputs.stdout.is_none() && outputs.stderr.is_none();
        if let Some(ended) = ended.take_if(|ended| closed || ended.patience().is_zero()) {
            return ended.exit;
        }
    }
}
