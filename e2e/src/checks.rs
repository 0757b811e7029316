//! Several checks in one guest, all of them made whatever became of the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Collects what failed. Dropping it is [`Checks::finish`], unless the test has failed already: each failure was printed.
#[derive(Debug, Default)]
pub struct Checks {
    made: usize,
    failed: Vec<&'static str>,
}

impl Checks {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one check; a panic is its failure.
    pub fn check(&mut self, sentence: &'static str, check: impl FnOnce()) {
        self.made += 1;
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(check));
        let took = begun.elapsed().as_secs_f32();
        eprintln!("{} after {took:.1} s: {sentence}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_err() {
            self.failed.push(sentence);
        }
    }

    /// # Panics
    /// When a check failed, or none was made.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.made > 0, "no check was made");
            assert!(self.failed.is_empty(), "of {} checks failed: {}", self.made, self.failed.join("; "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "of 3 checks failed: the first; the third")]
    fn a_failed_check_neither_stops_the_next_nor_is_forgotten() {
        let mut checks = Checks::new();
        checks.check("the first", || panic!("no"));
        checks.check("the second", || {});
        checks.check("the third", || panic!("no"));
        checks.finish();
    }

    #[test]
    #[should_panic(expected = "of 1 checks failed: the only one")]
    fn a_failed_check_fails_a_test_that_does_not_finish_them() {
        Checks::new().check("the only one", || panic!("no"));
    }

    #[test]
    #[should_panic(expected = "no check was made")]
    fn checking_nothing_is_no_success() {
        Checks::new().finish();
    }
}
