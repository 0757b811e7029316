//! What the host and the agent inside a guest say to each other.
//!
//! The host connects to [`AGENT_PORT`] on the guest's vsock. One connection carries one [`Request`], sent as
//! the first frame ([`frame`]); what follows depends on it. The guest is told who it is by a config drive
//! ([`config_drive`]) and reports that it is up by connecting to the host's [`NOTICE_PORT`].
//!
//! The host treats every byte from here as hostile: frames are capped, JSON refuses unknown fields.

pub mod config_drive;
pub mod frame;
pub mod session;

use crate::ids::TurnId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Where the agent listens, for the host only.
pub const AGENT_PORT: u32 = 52;

/// Where the host listens for [`Notice`]s, each a JSON line.
pub const NOTICE_PORT: u32 = 53;

/// The host's address as a guest sees it (`VMADDR_CID_HOST`).
pub const HOST_CID: u32 = 2;

/// Most bytes of standard input the host may send before the agent has acknowledged any.
///
/// Input has a window of its own so that a command which does not read cannot hold up a signal or a resize
/// that follows it on the same connection.
pub const STDIN_WINDOW: u32 = 256 * 1024;

/// Longest message to or from an ssh agent that is passed on, in bytes without its length. The protocol has no limit;
/// OpenSSH's is 256 KiB, which nothing but certificates in heaps comes near to.
pub const MOST_SSH_AGENT_MESSAGE: usize = frame::MAX_PAYLOAD - 4;

/// Most clients of a forwarded ssh agent at a time.
pub const MOST_SSH_AGENT_CLIENTS: usize = 16;

/// What one connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answered with one `Reply` frame holding [`Health`].
    Health,
    /// As `Health`, but answered only once the guest is usable.
    WaitUsable,
    /// Run a command. Answered with `Started`, or with `Exit` when it could not be started; then `Stdout`,
    /// `Stderr` and `StdinCredit` frames until `Exit`, which is the last. When the host goes away first, the
    /// command's process group gets SIGHUP.
    Exec(Exec),
    /// Connect to a TCP port on the guest's loopback. Answered with `Started` or `Error`; after `Started` the
    /// connection carries the raw bytes of that port and no more frames.
    Dial { port: u16 },
    /// Where something listens on TCP. Answered with one `Reply` frame holding an array of at most
    /// [`MOST_LISTENERS`] [`Listener`]s.
    Ports,
    /// Send what is at `path`, which starts at root's home unless it starts with `/`. Answered with a copy
    /// (`Entry`, `Data`, `Hole`, `Done`) and then one `Reply` frame holding [`Copied`].
    CopyOut { path: String },
    /// Take a copy, which the host sends after this, and lay it at `path`: below it as `name` if there is a folder,
    /// else under that very path. Answered with one `Reply` frame holding [`Copied`].
    CopyIn { path: String, name: Option<String> },
    /// Say what is at paths below `path`, which follow as `Data` frames, each with a NUL behind it, and `Done`. Answered
    /// with `Data` frames in which each has its place, as `banger-copy` knows it, and `Done`.
    Look { path: String },
    /// Remove the files at paths below `path`, which follow in the same way, and the folders that are empty then.
    /// Answered with one `Reply` frame holding `null`.
    Remove { path: String },
    /// Something about commands that outlive the connection; see [`session`].
    Session(session::Request),
    /// Offer the host's ssh agent to a user of the guest, named as in [`Exec`], as long as this connection is there.
    /// Answered with one `Item` frame holding the path of a socket, or `Error`; then each question asked there is an
    /// `SshAgent` frame, which the host answers with one of the same client before the next.
    SshAgent { user: Option<String> },
    /// Begin a turn and end every other: what they began is ended, and what comes of them late is refused. Answered with one
    /// `Reply` frame holding `null` when nothing of them is left, or `Error`.
    BeginTurn { turn: TurnId },
    /// What this connection is for follows in another `Request` frame, and is part of that turn. When the host goes away or
    /// another turn begins, a command that is run in one gets SIGHUP, and soon SIGKILL, with everything it has started.
    InTurn { turn: TurnId },
    /// Write everything to the disks. Answered with one `Reply` frame holding `null`.
    Sync,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    pub entries: u64,
    /// How many things stayed behind, being neither file, folder nor link.
    pub skipped: u64,
    /// The first of these.
    pub first_skipped: Option<String>,
}

/// Most listeners that are told; they must fit a frame.
pub const MOST_LISTENERS: usize = 256;

/// A TCP socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub port: u16,
    pub address: IpAddr,
    /// The name of a process that holds it.
    pub process: Option<String>,
}

/// A command to run, exactly as given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments; empty for the user's login shell.
    pub argv: Vec<String>,
    /// Added to the login environment of the user and what the image adds to it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Absolute; the image's working directory when not given, and the user's home when it has none.
    #[serde(default)]
    pub cwd: Option<String>,
    /// A name of the guest's `/etc/passwd` or a number, perhaps `:` and a group; the image's user when not given, and
    /// `root` when it names none.
    #[serde(default)]
    pub user: Option<String>,
    /// With it the command runs on a terminal: output is all `Stdout`.
    #[serde(default)]
    pub terminal: Option<Terminal>,
    /// Whether `Stdin` frames will come; otherwise input is `/dev/null`.
    pub stdin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// The value of `TERM`.
    pub term: String,
    pub size: WindowSize,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Exit {
    Code(u8),
    Signal(u8),
    /// The command could not be started; `code` is what a shell would give: 127 not found, 126 not runnable.
    NotStarted {
        code: u8,
        reason: String,
    },
}

impl Exit {
    /// The exit code a shell would report.
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::Code(code) | Self::NotStarted { code, .. } => *code,
            Self::Signal(signal) => 128_u8.saturating_add(*signal),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The agent's version.
    pub version: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Whether commands can be run without the guest's own start-up undoing their work.
    pub usable: bool,
    /// Milliseconds since the guest's kernel started.
    pub uptime_ms: u64,
}

/// What the agent tells the host unasked, while booting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    /// The agent serves its port.
    Agent { boot_id: String, uptime_ms: u64 },
    /// Commands can be run.
    Usable { uptime_ms: u64 },
    /// The guest cannot come up; what failed, as text.
    BootFailed { step: String, reason: String },
}
