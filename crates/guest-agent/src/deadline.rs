//! Waiting for something that announces itself to nobody.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Tries until `attempt` gives a value or `limit` has passed.
pub(crate) fn retry<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the pause between two looks at the condition above")]
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tries until `attempt` succeeds or `limit` has passed; the last failure then.
pub(crate) fn retry_result<T, E>(limit: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut failure = None;
    let success = retry(limit, || attempt().map_err(|e| failure = Some(e)).ok());
    success.ok_or_else(|| failure.expect("what never succeeded has failed at least once"))
}
