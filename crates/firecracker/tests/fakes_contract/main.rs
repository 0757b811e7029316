//! What banger takes for granted about Firecracker, asked of the fake one and, if there is one, of the real one.
//!
//! Every test goes through [`programs::programs`]: the fake, and with `BANGER_FIRECRACKER` in the environment also
//! the program that it names, for which `/dev/kvm` must open. Nothing here asks for a real guest: the machines of the
//! real one run a few instructions of [`kernel`]'s, which any KVM can do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod ask;
mod kernel;
mod life;
mod metrics;
mod phases;
mod programs;
mod refusals;
mod start;
mod vmm;
