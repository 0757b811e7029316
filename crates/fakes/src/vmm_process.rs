//! A VMM as its guest sees it from a process apart: whether it stands still.
//!
//! The two cannot name each other, being each alone in a pid namespace, so the VMM shows the backend the file in which
//! the kernel keeps its state.

use rustix::io::IoSlice;
use rustix::io::IoSliceMut;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

/// The open `/proc/<pid>/stat` of a VMM.
#[derive(Debug)]
pub(crate) struct VmmProcess(File);

impl VmmProcess {
    /// This process.
    pub(crate) fn own() -> io::Result<Self> {
        File::open("/proc/self/stat").map(Self)
    }

    /// Shows it to the other end, which waits for it.
    pub(crate) fn show(&self, to: &UnixStream) -> io::Result<()> {
        let descriptors = [self.0.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(to, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
        Ok(())
    }

    /// Waits for the one at the other end.
    pub(crate) fn shown_by(from: &UnixStream) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let stat = descriptors.flatten().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self(stat.into()))
    }

    /// Whether a signal has stopped it: state `T` (proc_pid_stat(5)).
    pub(crate) fn stands_still(&self) -> bool {
        let mut stat = [0; 512];
        let length = self.0.read_at(&mut stat, 0).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat[..length]);
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_shown_is_seen_to_run() {
        let (vmm, guest) = UnixStream::pair().unwrap();
        VmmProcess::own().unwrap().show(&vmm).unwrap();
        assert!(!VmmProcess::shown_by(&guest).unwrap().stands_still());
        drop(vmm);
        assert!(VmmProcess::shown_by(&guest).is_err());
    }
}
