//! A terminal with nobody before it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends: 33 rows of 99 columns.
#[derive(Debug)]
pub(crate) struct Terminal {
    person: OwnedFd,
    program: OwnedFd,
    shown: RefCell<String>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = rustix::fs::open(ptsname(&person, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&person, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        Self { person, program, shown: RefCell::default() }
    }

    /// The command's standard streams become this terminal.
    pub(crate) fn attach<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let stream = || self.program.try_clone().unwrap();
        command.stdin(stream()).stdout(stream()).stderr(stream())
    }

    pub(crate) fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.program).unwrap())
    }

    pub(crate) fn wait_until_raw(&self) {
        let begun = Instant::now();
        while tcgetattr(&self.program).unwrap().local_modes.contains(LocalModes::ICANON) {
            assert!(begun.elapsed() < PATIENCE, "the terminal was not made raw");
            self.look();
        }
    }

    /// What dragging its corner does.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.person, size).unwrap();
    }

    pub(crate) fn type_in(&self, text: &str) {
        assert_eq!(rustix::io::write(&self.person, text.as_bytes()).unwrap(), text.len());
    }

    pub(crate) fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown.borrow().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "`{text}` was not shown, but:\n{}", self.shown.borrow());
            self.look();
        }
    }

    /// Reads what is shown, waiting for it a little.
    fn look(&self) {
        let mut ready = [PollFd::new(&self.person, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        if poll(&mut ready, Some(&wait)).unwrap() > 0 {
            let mut bytes = [0; 4096];
            let count = rustix::io::read(&self.person, &mut bytes).unwrap();
            self.shown.borrow_mut().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}
