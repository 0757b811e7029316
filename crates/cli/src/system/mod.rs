//! banger for the whole machine: installing it, and taking it away again.
//!
//! ```text
//!  install ── files ([`layout`], [`banger_system::units`]) ── install.toml ── systemd ── until both services answer
//!  uninstall ── VMs stopped by the daemon ── systemd ── the network, by the helper ── files
//! ```
//!
//! Which files there are and what is in them is a function of who owns the system and where it is installed; so what
//! `install` writes, `status` compares and `uninstall` removes is the same list. Doing it again does what is missing.

pub(crate) mod foreign_firewall;
pub(crate) mod host;
pub(crate) mod install;
pub(crate) mod layout;
pub(crate) mod systemd;
pub(crate) mod uninstall;

use crate::failure::Failure;

/// That whoever calls may change the machine.
pub(crate) fn expect_root(command: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::message("nothing was changed: this needs root")
        .with_hint(format!("sudo banger system {command}")))
}
