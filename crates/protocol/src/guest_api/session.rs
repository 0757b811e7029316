//! Sessions: commands of a guest that have a name and outlive whoever started them.
//!
//! The agent alone knows them. It keeps the last [`KEPT`] bytes of what each wrote and, when it has ended, how. They end
//! with the guest.
//!
//! Where a [`Request`] speaks of a session that does not exist, or of one that is in no state for it, the answer is one
//! `Refused` frame holding a [`Refusal`].

use super::{Exec, Exit, WindowSize};
use crate::names::SessionName;
use serde::{Deserialize, Serialize};

/// Most bytes of output that are kept of a session, what tells stdout from stderr included.
pub const KEPT: u64 = 8 << 20;

/// Most bytes of the latest output that somebody who attaches is shown first.
pub const SHOWN_AT_ATTACH: u64 = 8 << 10;

/// Most sessions of a guest, those that have ended among them.
pub const MOST: usize = 64;

/// Most clients of one session at a time.
pub const MOST_CLIENTS: usize = 16;

/// Longest command, in bytes of the JSON of its [`Exec`]. Each is kept in memory as long as its session.
pub const MOST_COMMAND: usize = 32 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Run a command as a session, under a name made up from the command if none is given. One that has ended gives its
    /// name up to a new one. Answered with one `Reply` frame holding the [`Session`].
    Start { name: Option<SessionName>, command: Exec },
    /// Answered with an `Item` frame for each [`Session`], by name, and one `Reply` frame holding `null`.
    List,
    /// Answered with one `Reply` frame holding the [`Session`].
    Show { name: SessionName },
    /// What it wrote last and writes from now on, `Stdin`, `Signal` and `Resize` frames going to it. Answered with
    /// `Started`; then `Stdout`, `Stderr`, `Dropped` and `StdinCredit` frames until `Exit`, which is the last and comes
    /// when the command has ended. Neither `StdinEnd` nor a host that goes away means anything to the session.
    ///
    /// On a terminal, the size is that of whoever gave one last and is still there.
    Attach { name: SessionName, size: Option<WindowSize> },
    /// What is kept of its output, and with `follow` what it writes until it ends. Answered with `Started`; then
    /// `Stdout`, `Stderr` and `Dropped` frames; then one `Reply` frame holding `null`.
    Logs { name: SessionName, follow: bool },
    /// Give it input: `Stdin` frames, then `StdinEnd`. With `end` that is the last input it gets. Answered with
    /// `Started` and `StdinCredit` frames; and, once the command has taken everything, one `Reply` frame holding `null`.
    Send { name: SessionName, end: bool },
    /// Send a signal to its process group. Answered with one `Reply` frame holding `null`.
    Signal { name: SessionName, signal: u8 },
    /// End it: SIGTERM to its process group, then, when the command has ended or had this long, SIGKILL to everything
    /// that is left of it. Answered with one `Reply` frame holding the ended [`Session`].
    Stop { name: SessionName, grace_ms: u32 },
    /// Forget one that has ended. Answered with one `Reply` frame holding `null`.
    Remove { name: SessionName },
}

/// A session as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub name: SessionName,
    /// As in [`Exec`].
    pub argv: Vec<String>,
    pub user: String,
    pub terminal: bool,
    pub pid: u32,
    pub state: State,
    /// Milliseconds since it was started.
    pub age_ms: u64,
    /// Bytes it has written.
    pub written: u64,
    /// How many of these are kept no longer.
    pub dropped: u64,
    /// How many clients are attached to it.
    pub attached: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    Running,
    /// So many milliseconds ago.
    Ended {
        exit: Exit,
        ago_ms: u64,
    },
}

/// Why a request about a session was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// There is none of that name, but these.
    NoSuchSession { name: SessionName, existing: Vec<SessionName> },
    /// The name belongs to one that runs; or it was to be forgotten while it runs.
    Runs { name: SessionName },
    /// Its command has ended.
    HasEnded { name: SessionName, exit: Exit },
    /// The command was given no input, or what it had was ended.
    NoInput { name: SessionName },
    /// It did not end, not even by SIGKILL.
    WouldNotEnd { name: SessionName },
    /// There are [`MOST`] already.
    TooMany,
    /// There are [`MOST_CLIENTS`] of this session already.
    TooManyClients { name: SessionName },
    /// The command is longer than [`MOST_COMMAND`].
    TooLong { bytes: u64 },
    /// The command was not started; `code` is what a shell would give.
    NotStarted { code: u8, reason: String },
}
