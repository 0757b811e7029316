//! The user's terminal: its size, and raw mode that always ends.

use banger_protocol::guest_api::{Terminal, WindowSize};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What a guest is told when nothing here is a terminal.
const FALLBACK: WindowSize = WindowSize { rows: 24, columns: 80 };

pub(crate) fn stdin_is_terminal() -> bool {
    isatty(stdin())
}

/// The terminal as the guest's side of it should be.
pub(super) fn description() -> Terminal {
    let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
    Terminal { term: term.unwrap_or_else(|| "dumb".to_owned()), size: size() }
}

/// Of whichever standard stream is a terminal.
pub(super) fn size() -> WindowSize {
    let found = [stdin(), stdout(), stderr()].into_iter().find_map(|stream| tcgetwinsize(stream).ok());
    let found = found.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    found.map_or(FALLBACK, |size| WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Whether a standard stream is a terminal that was hung up.
pub(super) fn is_gone() -> bool {
    [stdin(), stdout(), stderr()]
        .into_iter()
        .any(|stream| tcgetattr(stream).is_err_and(|errno| errno == rustix::io::Errno::IO))
}

/// The terminal on stdin passes every key on as it is; dropping this puts it back as it was, also while a panic
/// unwinds.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` when stdin is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no putting back.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}
