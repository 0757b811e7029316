//! The guest agent: the only code of banger that runs inside the VM.
//!
//! One static program with two roles. As the first program of a guest, in the initrd, it mounts the disks, sets the guest's
//! identity, and starts the image's own init ([`boot`]). Before that it starts itself once more, from `/run`, as the agent
//! that runs commands for the host over vsock ([`serve`], [`exec`], [`session`], [`turn`]).
//!
//! It is deliberately simple: blocking calls and threads, no name resolution, no configuration of its own. It answers only
//! the host.

pub mod boot;
pub mod causes;
mod deadline;
pub mod exec;
mod image;
pub mod serve;
pub mod session;
mod sys;
pub mod turn;
