//! Running a command inside a guest, over the connection to its agent.
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

mod copy;
mod dial;
mod exec;
mod input;
mod terminal;

pub(crate) use copy::{CopyError, copy_in, copy_out};
pub(crate) use dial::{DialError, dial, pass_both_ways, uptime};
pub(crate) use exec::{ExecError, run};
pub(crate) use terminal::stdin_is_terminal;

use std::collections::BTreeMap;

/// A command for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Empty for the user's login shell.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub stdin: bool,
    pub terminal: bool,
}
