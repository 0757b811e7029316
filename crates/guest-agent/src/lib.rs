//! The only code of banger that runs inside the sandbox.
//!
//! One static program with two lives. As the first program of a guest, in the initrd, it finds the disks, gives
//! the guest its identity and hands over to the image's own init ([`boot`]). Before that it starts itself once
//! more, out of `/run`, as the agent that runs commands for the host over vsock ([`serve`], [`exec`], [`session`]).
//!
//! It is as boring as possible: blocking calls and threads, no name resolution, no configuration of its own. It
//! answers nobody but the host.

pub mod boot;
pub mod causes;
mod deadline;
pub mod exec;
mod image;
pub mod serve;
pub mod session;
mod sys;
