//! Feeds a parser with hostile input: well-formed input with a few places broken, over and over.
//!
//! A target is a test in a module called `fuzz`, next to the parser, that calls [`feed`] with examples and a plain function
//! of bytes; so it has access to private items, and libFuzzer could call the same function. A run is a pure function of the
//! target and of [`SEED`]: what failed once fails again. An input that makes the function panic, or take longer than
//! [`PATIENCE`], is a failure; it is printed, to become an example or a test of its own.
//!
//! `cargo xtask fuzz` runs every target for longer than the tests do.

mod mutate;

pub use mutate::Random;

use std::time::{Duration, Instant};

/// How many inputs a target gets, where the tests' own number will not do.
pub const RUNS: &str = "BANGER_FUZZ_RUNS";
/// Another seed gives other inputs.
pub const SEED: &str = "BANGER_FUZZ_SEED";

/// As many as make no difference to how long the tests take.
const USUAL_RUNS: u64 = 2_000;
/// For one input. Parsers here take microseconds; the rest is for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an input is printed.
const SHOWN: usize = 4096;

/// Calls `target` with the examples, and then with what becomes of them.
///
/// # Panics
/// When an input takes too long, and, with what `target` panicked with, when it does.
#[expect(clippy::print_stderr, reason = "a test's own account of what it found")]
pub fn feed(examples: &[&[u8]], mut target: impl FnMut(&[u8])) {
    let runs = from_environment(RUNS).unwrap_or(USUAL_RUNS);
    let mut random = Random::new(from_environment(SEED).unwrap_or(1));
    let mut longest = Duration::ZERO;
    for run in 0..runs {
        let input = match usize::try_from(run).ok().and_then(|run| examples.get(run)) {
            Some(example) => example.to_vec(),
            None => mutate::input(examples, &mut random),
        };
        let shown = Shown { input: &input, run };
        let begun = Instant::now();
        target(&input);
        let took = begun.elapsed();
        assert!(took < PATIENCE, "an input took {took:?}");
        longest = longest.max(took);
        drop(shown);
    }
    eprintln!("{runs} inputs, the longest took {longest:?}");
}

/// Prints an input if the target panics on it.
struct Shown<'a> {
    input: &'a [u8],
    run: u64,
}

impl Drop for Shown<'_> {
    #[expect(clippy::print_stderr, reason = "a test's own account of what it found")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = &self.input[..self.input.len().min(SHOWN)];
            eprintln!("input {} of {} bytes: b\"{}\"", self.run, self.input.len(), shown.escape_ascii());
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_come_first_and_the_same_inputs_every_time() {
        let gather = || {
            let mut seen = Vec::new();
            feed(&[b"one", b"two"], |input| seen.push(input.to_vec()));
            seen
        };
        let seen = gather();
        assert_eq!(seen[..2], [b"one".to_vec(), b"two".to_vec()]);
        assert!(seen.len() > 100 && seen == gather());
    }

    #[test]
    fn a_parser_that_trusts_a_length_is_caught() {
        let trusting = |input: &[u8]| {
            if let [length, rest @ ..] = input {
                let _ = &rest[..usize::from(*length)];
            }
        };
        let caught = std::panic::catch_unwind(|| feed(&[b"\x03abc"], trusting));
        assert!(caught.is_err());
    }
}
