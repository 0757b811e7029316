//! Fakes of the programs that banger runs but does not contain: Firecracker, QEMU, and QEMU's vsock backend, with a guest
//! behind them.
//!
//! They take the command lines of the real programs and run in their place, confined by the helper in the same way, so
//! everything of banger is real except the guest, and a boot takes milliseconds. `fake-firecracker` contains its guest.
//! The guest of `fake-qemu` is in `fake-vsock-backend`, and the two share the connection that a VMM has with its backend.
//! When it closes, the machine is off.
//!
//! A machine's behaviour is written on its work disk ([`behaviour`]), as it would be with a real machine: an image of a few
//! bytes is a guest that boots, one that fails to, or one that lies. Nothing has to get past the helper's cleared
//! environment, and the machines of one daemon can differ.

pub mod behaviour;
pub mod firecracker;
pub mod guest;
pub mod qemu;
mod vmm_process;
