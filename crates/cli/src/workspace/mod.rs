//! A folder of the user's, inside a VM.
//!
//! ```text
//! host                                             guest
//! inspect, snapshot                                git init
//! pack-objects ───────── last commits ───────────▶ index-pack, checkout
//! working tree ───────── what differs ───────────▶ laid over it
//! index        ───────── what is staged ─────────▶ update-index
//!                                                  refs/banger/base: what was laid
//! ```
//!
//! Both gits do what they do best, and nothing of the copy is ever a file of the host's: killed at any instruction, this
//! leaves nothing here and in the guest a folder that the next prepare makes whole. The daemon is asked for the VM's turn
//! first ([`banger_protocol::daemon_api::workspace`]) and told at the end what lies where.
//!
//! What must stay true: the host's repository is only read, by [`crate::git`]. What a guest answers decides at most which of
//! the files that are its to have are sent again; what was sent is named by the host alone ([`sent_tree`]).

mod compare;
mod decide;
mod failure;
mod files;
mod filters;
mod head;
mod host;
mod inside;
mod lay;
mod moved_on;
mod options;
mod place;
mod prepare;
mod preview;
mod sent_tree;
mod source;
mod tools;
mod update;
mod within;
mod without_git;

pub(crate) use failure::PrepareError;
pub(crate) use files::LONGEST_LIST;
pub(crate) use inside::Interrupt;
pub(crate) use moved_on::has_moved_on;
pub(crate) use options::Options;
pub(crate) use place::guest_path;
pub(crate) use prepare::prepare;
pub(crate) use preview::preview;
pub(crate) use source::{Source, shown};
pub(crate) use tools::{through_mise, wants_tools};
pub(crate) use without_git::memory;
