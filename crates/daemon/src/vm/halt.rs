//! Notices that a guest has halted under a VMM that goes on.
//!
//! Firecracker's machine can be reset and has no power to cut, so that a guest which switches itself off stays, doing
//! nothing, for ever. Its kernel says on the console, whatever it is told to be quiet about, that it is done; nothing
//! comes after that.

use super::folder;
use banger_protocol::root_api::CONSOLE_LOG;
use rustix::fs::inotify;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// What the kernel says last (`kernel_halt` and `kernel_power_off` in kernel/reboot.c).
const LAST: [&str; 2] = ["reboot: System halted", "reboot: Power down"];
/// Bytes of the console's end that hold its last line.
const END: u64 = 256;
/// How often a guest is looked at that cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A guest that talks without end is looked at no more often than this.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends when the guest has halted. `console_start` is where this boot's console begins.
pub(super) async fn halted(folder: &Path, console_start: u64) {
    // The kernel has a limited number of watches for each user, who may have others: then it is looked now and then.
    if let Err(error) = watch(folder, console_start).await {
        tracing::info!(folder = %folder.display(), %error, "a guest's console is not watched, only looked at");
        while !has_halted(folder, console_start).unwrap_or(false) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn watch(folder: &Path, console_start: u64) -> io::Result<()> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    // The VMM may have put anything there; a link is not followed.
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DONT_FOLLOW;
    inotify::add_watch(&changes, folder.join(CONSOLE_LOG), flags)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that others may close; this one is ours"
    )]
    let changes = AsyncFd::with_interest(changes, tokio::io::Interest::READABLE)?;
    loop {
        // Looked at first: it may have halted before the watch was there.
        if has_halted(folder, console_start)? {
            return Ok(());
        }
        let mut ready = changes.readable().await?;
        drain(changes.get_ref());
        ready.clear_ready();
        tokio::time::sleep(PAUSE).await;
    }
}

fn has_halted(folder: &Path, console_start: u64) -> io::Result<bool> {
    Ok(says_halted(&folder::end_of_from(folder, CONSOLE_LOG, console_start, END)?))
}

/// Takes what has been told so far: that there is something is enough.
fn drain(changes: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(changes, &mut buffer);
    while reader.next().is_ok() {}
}

fn says_halted(console: &[u8]) -> bool {
    let text = String::from_utf8_lossy(console);
    let last = text.lines().rev().map(str::trim_end).find(|line| !line.is_empty());
    last.is_some_and(|line| LAST.iter().any(|words| line.ends_with(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_tells_of_a_halt() {
        assert!(says_halted(
            b"[   12.3] systemd-shutdown[1]: Powering off.\r\n[   12.4] reboot: System halted\r\n"
        ));
        assert!(says_halted(b"[   12.4] reboot: Power down\n\n"));
        assert!(!says_halted(b"[   12.4] reboot: Restarting system\r\n"));
        assert!(!says_halted(b"reboot: System halted\r\nlogin: "));
        assert!(!says_halted(b""));
    }

    #[tokio::test]
    async fn a_halt_is_noticed_when_it_comes_and_when_it_came_before() {
        let place = tempfile::tempdir().unwrap();
        let console = place.path().join(CONSOLE_LOG);
        std::fs::write(&console, "booted\n").unwrap();
        let halt = halted(place.path(), 0);
        tokio::pin!(halt);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut halt).await.is_err(), "it has not halted yet");
        std::fs::write(&console, "booted\n[ 1.0] reboot: System halted\n").unwrap();
        halt.await;
        halted(place.path(), 0).await;
        let start = std::fs::metadata(&console).unwrap().len();
        assert!(
            tokio::time::timeout(soon, halted(place.path(), start)).await.is_err(),
            "that was a former boot"
        );
    }
}
