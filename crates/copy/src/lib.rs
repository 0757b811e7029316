//! A tree of files, taken apart into frames on one side of a connection and put together again on the other.
//!
//! ```text
//! Entry ─(Data│Hole)*─▶ Entry ─(Data│Hole)*─▶ … ─▶ Done          the first entry is the root, its path empty
//! ```
//!
//! Both ends use this crate, the agent in the guest and the command on the host, so what one sends the other can lay.
//! Either may be hostile to the other, and the guest is taken to be. What must stay true of [`receive`]:
//!
//! - Nothing is written outside the place that was named. A path is a list of plain names, and every folder on the way
//!   is opened with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`: a link that came in the same tree leads nowhere.
//! - A file appears under its name when all of it is there. Until then it has no name at all, or, where the file system
//!   cannot do that, one beside it that goes when the copy breaks off.
//! - What was there under a name is replaced, never written through; a folder is entered and never replaced.
//!
//! Before a copy, [`Looking`] tells what is there already, and after it [`remove`] takes away what is there no longer.
//!
//! Owners and extended attributes do not travel: what arrives is whoever's who receives it.

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
pub use send::{SendError, Sent, name_of, send, send_some};
pub use unfinished::Unfinished;

/// What of a mode is kept of files from a guest: a program that runs as somebody else would be a gift to whoever
/// can write to the folder it lands in.
pub const MODES_FROM_GUEST: u32 = 0o777;
/// What of a mode is kept of files from the host.
pub const MODES_FROM_HOST: u32 = 0o7777;
