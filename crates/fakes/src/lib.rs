//! Programs that stand in for what banger runs but does not make: Firecracker, QEMU, and QEMU's vsock backend, with
//! a guest behind.
//!
//! They take the command lines of the real ones and run where those run, confined by the helper like them, so
//! everything of banger is real except the guest, and a boot takes milliseconds. `fake-firecracker` has its guest in
//! it. The guest of `fake-qemu` is in `fake-vsock-backend`, and between the two goes the connection that a VMM has
//! with its backend. When it closes, the machine is off.
//!
//! How a machine behaves is written on its work disk ([`behaviour`]), as what a real machine does is: an image of a
//! few bytes is a guest that boots, one that fails to, or one that lies. Nothing has to be smuggled past the helper's
//! cleared environment, and machines of one daemon can differ.

pub mod behaviour;
pub mod firecracker;
pub mod guest;
pub mod qemu;
mod vmm_process;
