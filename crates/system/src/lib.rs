//! The installed system, as each program sees it: who owns it, what root acts on, and where everything is.
//!
//! ```text
//!  banger system install ──writes──▶ /etc/banger/install.toml ──read by──▶ banger, bangerd, bangerd-root
//! ```
//!
//! There is one file, owned by root, and it alone decides: if it exists and names a user, that user's banger is the
//! installed one, and a service that does not answer is an error. Nothing here is taken from a user's configuration.
//!
//! This crate is linked into `bangerd-root`, so it has almost no dependencies: the file is read by a parser of its own
//! ([`mod@file`]), which knows only the few forms that are written.

pub mod docker;
mod file;
mod install;
#[cfg(feature = "paths")]
mod paths;
mod range;
pub mod service;
pub mod trust;
#[cfg(feature = "units")]
pub mod units;
mod vm_uids;

pub use file::FileError;
pub use install::{Firewall, Install, InstallError, Mode, Owner, mode_of};
pub use range::{Network, NoRange, choose as choose_range};
pub use vm_uids::{NotVmUids, Taken, VmUids};

/// What root acts on, and whom the system belongs to.
pub const INSTALL: &str = "/etc/banger/install.toml";
/// On which the daemon answers its owner. The folder is root's, so nobody else can answer in its place.
pub const SOCKET: &str = "/run/banger/bangerd.sock";
/// On which the helper answers the daemon.
pub const ROOT_SOCKET: &str = "/run/banger-root/bangerd-root.sock";
/// The database, images, kernels and VMs; the owner's.
pub const STATE: &str = "/var/lib/banger";
/// What can be made again; the owner's.
pub const CACHE: &str = "/var/cache/banger";

/// The unit that is the daemon, and the one that is the helper, each with a socket of the same name.
pub const UNITS: [&str; 2] = ["bangerd", "bangerd-root"];
/// What to type when a service does not answer.
pub const RESTART: &str = "sudo banger system restart";
