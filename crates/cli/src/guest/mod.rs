//! What is asked of the agent inside a guest; above all to run a command, over the connection to it.
//!
//! ```text
//!             ┌ stdin thread ── window ──┐
//!  user ──────┤                          ├─► writer ─► agent
//!             └ signals ─────────────────┘
//!  user ◄────── this thread ◄──────────── frames ◄──── agent
//! ```
//!
//! Input has a window that the agent opens, so a command that does not read never keeps a signal from passing.
//! What the guest sends is bytes for the user's own files or terminal and is passed through unread; everything
//! else it says is held to the protocol.

mod collect;
mod copy;
mod detach_keys;
mod dial;
mod exec;
mod input;
mod look;
mod session;
mod ssh_agent;
mod task;
mod terminal;
mod turn;

pub(crate) use collect::{CollectError, collect};
pub(crate) use copy::{
    CopyError, copy_file_in, copy_in, copy_out, copy_some_in, copy_some_out, pass_out, read_file, write_file,
};
pub(crate) use detach_keys::DetachKeys;
pub(crate) use dial::{DialError, dial, pass_both_ways};
pub(crate) use exec::{ExecError, run};
pub(crate) use look::{look, remove};
pub(crate) use session::{Left, Sent, SessionError, ask, attach, list, logs, send};
pub(crate) use ssh_agent::{ForwardError, SSH_AUTH_SOCK, SshAgent};
pub(crate) use task::{Done, Input, run_task};
pub(crate) use terminal::stdin_is_terminal;
pub(crate) use turn::{begin_turn, join_turn};

use banger_protocol::guest_api::Exec;
use std::collections::BTreeMap;

/// Longest sentence of a guest's that is told, in characters.
const LONGEST_SENTENCE: usize = 500;

/// What a guest says of itself, on one line: what it says on the next one would look like ours.
pub(crate) fn said(text: &str) -> String {
    text.chars().take(LONGEST_SENTENCE).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A command for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Empty for the user's login shell.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    /// Absolute; where the image says if not given.
    pub cwd: Option<String>,
    pub stdin: bool,
    pub terminal: bool,
}

impl Command {
    /// As the agent is asked for it. On a terminal, that is one like the user's own.
    pub(crate) fn as_asked(&self) -> Exec {
        Exec {
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            terminal: self.terminal.then(terminal::description),
            stdin: self.stdin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_speaks_in_one_line() {
        assert_eq!(
            said("no such file\nhint: run this\x1b[2J"),
            "no such file\u{fffd}hint: run this\u{fffd}[2J"
        );
        assert_eq!(said(&"x".repeat(70_000)).len(), LONGEST_SENTENCE);
    }
}
