//! What a user would type, tried: the harness for tests that know nothing of banger but its command line.
//!
//! A [`Sandbox`] is a home of its own for one test: own folders, own daemon, own everything, and at its end proof
//! that nothing is left of it. [`Invocation`] runs a program in it with a time limit. [`Host`] compares the
//! machine before with the machine after. Booting a guest takes seconds under emulation, so a test boots one and
//! makes several [`Checks`] in it.
//!
//! Images and kernels are made once for each machine and shared ([`images`]). Nothing in here links banger's own
//! crates: what a test expects is what the documentation promises, written down a second time.

#![expect(clippy::print_stderr, reason = "a test's own account of what it does")]

mod checks;
mod fake_guests;
mod full_disk;
mod host;
mod images;
mod installed;
mod invocation;
mod layered;
mod leftovers;
mod place;
mod processes;
mod programs;
mod published;
mod rpc;
mod sandbox;
mod volume;

pub use checks::Checks;
pub use fake_guests::FakeVmm;
pub use full_disk::fill_root_disk;
pub use host::Host;
pub use installed::{Installed, Inventory, Mishap, Traced, Tracer, World, guest_hears, later_package};
pub use invocation::{Finished, Invocation, Running};
pub use layered::Debian;
pub use place::Place;
pub use processes::Process;
pub use published::{LayerTar, Layout, docker_archive, sha256};
pub use rpc::{Rpc, operation_of};
pub use sandbox::Sandbox;
pub use volume::Volume;

/// The folder with the image and the kernel that guest tests boot, made now if this machine has none.
///
/// # Errors
/// When they cannot be made.
///
/// # Panics
/// When banger is not built.
pub fn guest_template() -> anyhow::Result<std::path::PathBuf> {
    images::template()
}
