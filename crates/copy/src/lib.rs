//! A tree of files, split into frames at one end of a connection and put together again at the other.
//!
//! ```text
//! Entry ─(Data│Hole)*─▶ Entry ─(Data│Hole)*─▶ … ─▶ Done          the first entry is the root, its path empty
//! ```
//!
//! Both ends use this crate, the agent in the guest and the command on the host, so each can write what the other sends.
//! Either may be hostile, and the guest is assumed to be. What must stay true of [`receive`]:
//!
//! - Nothing is written outside the given destination. A path is a list of plain names, and every directory on the way is
//!   opened with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`: a symlink from the same tree leads nowhere.
//! - A file appears under its name only when it is complete. Until then it has no name at all or, where the file system
//!   does not support that, a temporary one that is removed when the copy breaks off.
//! - What existed under a name is replaced, never written through; a directory is entered and never replaced.
//!
//! Before a copy, [`Looking`] reports what exists, and after it [`remove()`] deletes what the sender no longer has.
//!
//! Owners and extended attributes are not copied: files belong to the receiver.

mod answer;
mod entry;
mod look;
mod receive;
mod remove;
mod send;
#[cfg(test)]
mod tests;
mod unfinished;

pub use answer::{answer_look, answer_remove};
pub use entry::{Entry, MalformedEntry, Modified, What};
pub use look::{FOUND_LENGTH, Found, Looking, MalformedPaths, Paths};
pub use receive::{Destination, ReceiveError, Receiver, Step};
pub use remove::remove;
pub use send::{SendError, Sent, name_of, send, send_file, send_some};
pub use unfinished::Unfinished;

/// What of a mode is kept of files from a guest: a program that runs as somebody else would be a gift to whoever
/// can write to the folder it lands in.
pub const MODES_FROM_GUEST: u32 = 0o777;
/// What of a mode is kept of files from the host.
pub const MODES_FROM_HOST: u32 = 0o7777;
