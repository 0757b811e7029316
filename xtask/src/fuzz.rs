//! Every fuzz target for as long as somebody likes: those tests that are in modules called `fuzz`, which see fewer
//! inputs in the ring `pure`. Optimised, but with its checks for overflow; see the crate `fuzz`.

use crate::place::Place;
use crate::tool::cargo;
use anyhow::{Context as _, Result, bail};

/// A million, which every parser here is to stand.
const USUAL_RUNS: u64 = 1_000_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    runs: u64,
    seed: u64,
    /// Parts of the targets' names; all targets when empty.
    names: Vec<String>,
}

impl Request {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut request = Self { runs: USUAL_RUNS, seed: 1, names: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "--runs" => request.runs = number(words.next())?,
                "--seed" => request.seed = number(words.next())?,
                option if option.starts_with('-') => bail!("`cargo xtask fuzz` does not know `{option}`"),
                name => request.names.push(name.to_owned()),
            }
        }
        Ok(request)
    }
}

fn number(word: Option<&&str>) -> Result<u64> {
    let word = word.context("a number is missing behind an option")?;
    word.parse().with_context(|| format!("`{word}` is no number"))
}

pub(crate) fn run(place: &Place, request: &Request) -> Result<()> {
    let names = if request.names.is_empty() { &["fuzz::".to_owned()][..] } else { &request.names };
    cargo(place)?
        .args(["test", "--workspace", "--lib", "--bins"])
        // Their settings are not those of the other tests, which would be built anew each time.
        .args(["--target-dir".as_ref(), place.target.join("fuzz").as_os_str()])
        .args(["--", "--show-output"])
        .args(names)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("BANGER_FUZZ_RUNS", request.runs.to_string())
        .env("BANGER_FUZZ_SEED", request.seed.to_string())
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_each_unless_told_otherwise() {
        let all = Request::parse(&[]).expect("no argument is fine");
        assert_eq!(all, Request { runs: 1_000_000, seed: 1, names: Vec::new() });
        let some = Request::parse(&["manifest", "--runs", "5", "--seed", "9"]).expect("it parses");
        assert_eq!(some, Request { runs: 5, seed: 9, names: vec!["manifest".to_owned()] });
        for wrong in [&["--runs"][..], &["--runs", "many"], &["--fast"]] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
