//! PID 1 for an image that has none.
//!
//! Collects orphans and ends the guest when asked to. The agent runs beside it as under any init.

use crate::deadline;
use crate::sys::signals;
use rustix::process::{WaitOptions, wait};
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// How long programs may take to end once asked.
const GRACE: Duration = Duration::from_secs(2);

/// Runs until the guest is told to end.
pub(super) fn run() -> ! {
    signals::hold_signals();
    loop {
        match signals::next_signal() {
            libc::SIGCHLD => while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {},
            signal => {
                if let Some(how) = wished_end(signal) {
                    end(how);
                }
            }
        }
    }
}

/// How the guest ends that is told so by this signal; most mean nothing. Pure.
///
/// Where a machine has no power to cut, as Firecracker's, the kernel makes a power-off a halt by itself, says so on
/// the console, and the host sees to the rest. A restart would bring the guest back.
fn wished_end(signal: libc::c_int) -> Option<RebootCommand> {
    match signal {
        // What control-alt-delete becomes, also when a VMM sends it.
        libc::SIGINT => Some(RebootCommand::Restart),
        // TERM from a container's habits, USR1 and USR2 from busybox's halt and poweroff, PWR from a UPS's.
        libc::SIGTERM | libc::SIGUSR1 | libc::SIGUSR2 | libc::SIGPWR => Some(RebootCommand::PowerOff),
        _ => None,
    }
}

fn end(how: RebootCommand) -> ! {
    signals::kill_all(libc::SIGTERM);
    let _ = deadline::retry(GRACE, || match wait(WaitOptions::NOHANG) {
        Err(rustix::io::Errno::CHILD) => Some(()),
        _ => None,
    });
    signals::kill_all(libc::SIGKILL);
    rustix::fs::sync();
    for place in ["/root", "/"] {
        // A file system that stays writable is replayed from its journal next time.
        let flags = rustix::mount::MountFlags::RDONLY;
        let _ = rustix::mount::mount_remount(Path::new(place), flags, c"");
    }
    let _ = rustix::system::reboot(how);
    // PID 1 ending is a panic, and that ends the guest too.
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_alt_delete_is_a_wish_to_come_back() {
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPWR] {
            assert_eq!(wished_end(signal), Some(RebootCommand::PowerOff), "signal {signal}");
        }
        assert_eq!(wished_end(libc::SIGINT), Some(RebootCommand::Restart));
        assert_eq!(wished_end(libc::SIGHUP), None);
    }
}
