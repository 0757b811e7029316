//! Trying again what the kernel was too busy for, for a while.
//!
//! udev opens every new block device for a moment, and the kernel tells nobody when it has closed it.

use std::io;
use std::time::{Duration, Instant};

/// Far above the time for which udev has a device open, on a host that is busy too.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Does it, and again for as long as it is refused with `EBUSY`, within limits.
pub(crate) fn until_not_busy<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    until(attempt, |error| error.raw_os_error() == Some(libc::EBUSY))
}

/// Does it, and again for as long as it fails in this way, within limits.
pub(crate) fn until<T>(
    mut attempt: impl FnMut() -> io::Result<T>,
    is_passing: impl Fn(&io::Error) -> bool,
) -> io::Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt() {
            Err(error) if is_passing(&error) && Instant::now() < deadline => std::thread::park_timeout(POLL),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_busy_is_tried_again() {
        let mut tries = 0;
        let mut attempt = |last: i32| {
            tries += 1;
            Err::<(), _>(io::Error::from_raw_os_error(if tries < 3 { libc::EBUSY } else { last }))
        };
        let outcome = until_not_busy(|| attempt(libc::EPERM));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(tries, 3);
    }
}
