//! Reads the counts out of the test runner's closing line.

use std::fmt;
use std::ops::Add;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    /// Everything that was run and did not pass: failed, timed out, could not be started.
    pub(super) failed: u64,
}

impl Add for Count {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// What two runs counted together, as far as they counted at all.
pub(super) fn sum(one: Option<Count>, other: Option<Count>) -> Option<Count> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// What to report of a ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) count: Count,
    pub(super) complaint: Option<&'static str>,
}

/// Counts in a line such as `Summary [ 2.3s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
///
/// After an interruption the line begins with `5/9 tests run`; the parts after the colon are the same.
pub(super) fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.trim_start().strip_prefix("Summary")?.split_once(" run: ")?;
    let mut count = Count::default();
    for part in without_parentheses(counts).split(',') {
        let (number, how) = part.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match how.trim() {
            "passed" => count.passed += number,
            "skipped" => {}
            _ => count.failed += number,
        }
    }
    Some(count)
}

/// `7 passed (1 slow, 1 flaky), 1 failed` has a comma that separates nothing.
fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|&c| {
            depth += u32::from(c == '(');
            let keep = depth == 0;
            depth -= u32::from(c == ')' && depth > 0);
            keep
        })
        .collect()
}

/// A ring passes when its runner says so, at least one test passed, and none failed.
pub(super) fn judge(counted: Option<Count>, runner_succeeded: bool) -> Verdict {
    let one_failure = |count: Count| Count { failed: count.failed.max(1), ..count };
    match counted {
        Some(count) if count.failed > 0 => Verdict { count, complaint: None },
        Some(count) if count.passed == 0 => Verdict {
            count: one_failure(count),
            complaint: Some("no test was run, which counts as a failure"),
        },
        Some(count) if runner_succeeded => Verdict { count, complaint: None },
        Some(count) => {
            Verdict { count: one_failure(count), complaint: Some("the test runner failed after its tests") }
        }
        None => Verdict {
            count: one_failure(Count::default()),
            complaint: Some("the tests could not be built or found, which counts as a failure"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64) -> Count {
        Count { passed, failed }
    }

    #[test]
    fn everything_that_did_not_pass_is_a_failure() {
        for (line, expected) in [
            ("     Summary [   0.005s] 12 tests run: 12 passed, 0 skipped", count(12, 0)),
            ("     Summary [  61.2s] 1 test run: 1 passed (1 slow), 3 skipped", count(1, 0)),
            (
                "     Summary [   2.3s] 9 tests run: 6 passed (1 slow, 1 leaky), 1 failed, 2 timed out, 3 skipped",
                count(6, 3),
            ),
            (
                "     Summary [   2.3s] 5/9 tests run: 3 passed, 1 failed, 1 exec failed, 0 skipped",
                count(3, 2),
            ),
            ("     Summary [   0.000s] 0 tests run: 0 passed, 44 skipped", count(0, 0)),
        ] {
            assert_eq!(parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn other_lines_are_not_taken_for_the_summary() {
        for line in [
            "",
            "        PASS [   0.004s] xtask summary",
            "a test printed Summary run: 1 passed",
            "Summary of it",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_ring_without_tests_fails() {
        assert_eq!(judge(Some(count(0, 0)), true).count, count(0, 1));
        assert_eq!(judge(None, false).count, count(0, 1));
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_a_failure() {
        assert_eq!(judge(Some(count(5, 0)), false).count, count(5, 1));
        assert_eq!(judge(Some(count(5, 2)), false), Verdict { count: count(5, 2), complaint: None });
        assert_eq!(judge(Some(count(5, 0)), true), Verdict { count: count(5, 0), complaint: None });
    }
}
