//! That each promise in the page about security has a test, and that the test is there.
//!
//! A promise is a row of a table whose columns are `promise` and `test`. Its test is named by a function's name in
//! backticks, or by a sentence in quotes that some test's check goes by; `the same` and `the two above` mean rows before.

use super::Complaint;
use super::sources::Source;

pub(super) const PAGE: &str = "docs/security.md";

pub(super) fn check(page: &Source, sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut in_table = false;
    let mut tested_before = false;
    for (number, line) in (1..).zip(page.text.lines()) {
        let Some((promise, test)) = row(line) else {
            in_table = false;
            continue;
        };
        if (promise, test) == ("promise", "test") {
            (in_table, tested_before) = (true, false);
            continue;
        }
        if !in_table || promise.starts_with("---") {
            continue;
        }
        let named = names(test);
        let refers = tested_before && ["the same", "above"].iter().any(|word| test.contains(word));
        let mut complain = |what: String| complaints.push(Complaint { at: format!("{PAGE}:{number}"), what });
        if named.is_empty() && !refers {
            complain("a promise without a test".to_owned());
        }
        for name in &named {
            let is_there = sources.iter().any(|source| source.is_rust() && name.is_in(&source.text));
            if !is_there {
                complain(format!("there is no test {name:?}"));
            }
        }
        tested_before = true;
    }
    complaints
}

/// What a test goes by.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Function(&'a str),
    Sentence(&'a str),
}

impl Name<'_> {
    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Function(name) => text.contains(&format!("fn {name}(")),
            Self::Sentence(words) => text.contains(&format!("\"{words}\"")),
        }
    }
}

/// A row of two columns.
fn row(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('|')?
        .strip_suffix('|')?
        .split_once('|')
        .map(|(left, right)| (left.trim(), right.trim()))
}

fn names(test: &str) -> Vec<Name<'_>> {
    let every_second = |mark: char| test.split(mark).skip(1).step_by(2);
    let functions = every_second('`').filter_map(|code| code.rsplit([' ', ':']).next());
    let functions = functions.filter(|name| name.matches('_').count() >= 3).map(Name::Function);
    functions.chain(every_second('"').map(Name::Sentence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(rows: &str) -> Vec<String> {
        let page = Source::new(PAGE, format!("| promise | test |\n|---|---|\n{rows}"));
        let test = Source::new(
            "x/tests/a.rs",
            "fn nobody_gets_in_at_all() {}\nchecks.check(\"nobody gets out\", || {})",
        );
        check(&page, &[test]).iter().map(|complaint| complaint.what.clone()).collect()
    }

    #[test]
    fn a_promise_is_kept_by_a_test_that_exists() {
        for fine in [
            "| a | `kernel_x nobody_gets_in_at_all` |\n",
            "| a | `crate tests::nobody_gets_in_at_all` |\n",
            "| a | `host_x`, \"nobody gets out\" |\n",
            "| a | `kernel_x nobody_gets_in_at_all` |\n| b | the same |\n",
        ] {
            assert_eq!(complaints(fine), [""; 0], "{fine}");
        }
        for wrong in ["| a | soon |\n", "| a | |\n", "| a | the same |\n", "| a | `kernel_x` |\n"] {
            assert_eq!(complaints(wrong), ["a promise without a test"], "{wrong}");
        }
        assert_eq!(complaints("| a | `kernel_x somebody_gets_in_at_all` |\n").len(), 1);
        assert_eq!(complaints("| a | `host_x`, \"somebody gets out\" |\n").len(), 1);
    }

    #[test]
    fn other_tables_promise_nothing() {
        let page = Source::new(
            PAGE,
            "| a | b |\n|---|---|\n| c | d |\n\n| promise | test |\n|---|---|\n\n| e | f |\n",
        );
        assert_eq!(check(&page, &[]), []);
    }
}
