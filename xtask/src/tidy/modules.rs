//! How a Rust file has to be made to be found and read by somebody who has never seen it.

use super::Complaint;
use super::sources::Source;

/// A file longer than this is two files.
const MOST_LINES: usize = 700;

/// Names that promise nothing about what is inside.
const SAYING_NOTHING: &[&str] = &["utils", "util", "common", "core", "helpers", "types", "misc"];

/// Put together so that this file does not contain them.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

pub(super) fn check(source: &Source, all: &[Source]) -> Vec<Complaint> {
    if !source.is_rust() {
        return Vec::new();
    }
    [size(source), introduction(source, all), name(source), lines(source)].concat()
}

fn complaint(source: &Source, what: impl Into<String>) -> Complaint {
    Complaint { at: source.path.clone(), what: what.into() }
}

/// Production code and tests are counted apart, so that nobody saves on tests to stay below.
fn size(source: &Source) -> Vec<Complaint> {
    let (production, tests) = line_counts(&source.text);
    [(production, "lines"), (tests, "lines of tests")]
        .into_iter()
        .filter(|(count, _)| *count > MOST_LINES)
        .map(|(count, what)| {
            complaint(source, format!("{count} {what}, {MOST_LINES} at most: it is two files"))
        })
        .collect()
}

/// Lines before and from the module of unit tests, which by custom comes last.
fn line_counts(text: &str) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let begins_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{');
    let production = lines.windows(2).position(begins_tests).unwrap_or(lines.len());
    (production, lines.len() - production)
}

/// The module a folder is entered by says what the folder is for.
fn introduction(source: &Source, all: &[Source]) -> Vec<Complaint> {
    let own_folder = format!("{}/", source.path.trim_end_matches(".rs"));
    let opens_a_folder = ["mod.rs", "lib.rs", "main.rs"].contains(&source.file_name())
        || all.iter().any(|other| other.path.starts_with(&own_folder));
    if opens_a_folder && !source.is_integration_test() && !source.text.starts_with("//!") {
        return vec![complaint(source, "a folder's module begins with `//!` and says what it is for")];
    }
    Vec::new()
}

fn name(source: &Source) -> Vec<Complaint> {
    source
        .path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| SAYING_NOTHING.contains(part))
        .map(|part| complaint(source, format!("`{part}` does not say what is inside")))
        .collect()
}

fn lines(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut lines = source.text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let mut complain = |what: String| {
            complaints.push(Complaint { at: format!("{}:{}", source.path, index + 1), what });
        };
        let code = line.trim_start();
        if code.starts_with("#[ignore") {
            complain("an ignored test is no test: delete it, or make what it needs".to_owned());
        }
        if code == "#[cfg(test)]" && !lines.peek().is_some_and(|(_, next)| is_module(next)) {
            complain(
                "production code does not know that it is tested: `cfg(test)` is for test modules".to_owned(),
            );
        }
        for word in UNFINISHED {
            if line.contains(word) {
                complain(format!("`{word}`: do it, or write an issue"));
            }
        }
    }
    complaints
}

fn is_module(line: &str) -> bool {
    ["mod ", "pub(crate) mod ", "pub(super) mod "].iter().any(|start| line.trim_start().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(source: &Source) -> Vec<String> {
        check(source, std::slice::from_ref(source)).into_iter().map(|c| c.what).collect()
    }

    #[test]
    fn a_file_may_have_700_lines_and_700_of_tests_but_no_more() {
        let file = |production: usize, tests: usize| {
            let text = format!(
                "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
                "a();\n".repeat(production),
                "t();\n".repeat(tests)
            );
            Source::new("crates/x/src/a.rs", text)
        };
        assert_eq!(whats(&file(700, 697)), [""; 0]);
        assert_eq!(whats(&file(701, 697)), ["701 lines, 700 at most: it is two files"]);
        assert_eq!(whats(&file(700, 698)), ["701 lines of tests, 700 at most: it is two files"]);
    }

    #[test]
    fn the_module_of_a_folder_says_what_it_is_for() {
        let silent = ["a folder's module begins with `//!` and says what it is for"];
        for path in ["crates/x/src/lib.rs", "crates/x/src/main.rs", "crates/x/src/vm/mod.rs"] {
            assert_eq!(whats(&Source::new(path, "mod a;\n")), silent);
            assert_eq!(whats(&Source::new(path, "//! Why.\nmod a;\n")), [""; 0]);
        }
        let (parent, child) =
            (Source::new("crates/x/src/vm.rs", "mod a;\n"), Source::new("crates/x/src/vm/a.rs", "\n"));
        assert_eq!(check(&parent, &[parent.clone(), child.clone()]).len(), 1, "vm.rs opens the folder vm");
        assert_eq!(check(&child, &[parent, child.clone()]), []);
    }

    #[test]
    fn a_name_that_says_nothing_is_refused_for_files_and_folders() {
        assert_eq!(whats(&Source::new("crates/x/src/utils.rs", "")), ["`utils` does not say what is inside"]);
        assert_eq!(
            whats(&Source::new("crates/x/src/helpers/a.rs", "")),
            ["`helpers` does not say what is inside"]
        );
        assert_eq!(whats(&Source::new("crates/root-helper/src/a.rs", "")), [""; 0]);
    }

    #[test]
    fn an_ignored_test_is_found_with_and_without_a_reason() {
        for attribute in ["#[ignore]", "    #[ignore = \"slow\"]"] {
            let source = Source::new("e2e/tests/a.rs", format!("#[test]\n{attribute}\nfn a() {{}}\n"));
            let [found] = &check(&source, &[])[..] else { panic!("{attribute} was not found once") };
            assert_eq!(found.at, "e2e/tests/a.rs:2");
        }
    }

    #[test]
    fn production_code_does_not_ask_whether_it_is_tested() {
        assert_eq!(
            whats(&Source::new("crates/x/src/a.rs", "#[cfg(test)]\nfn only_for_tests() {}\n")).len(),
            1
        );
        assert_eq!(whats(&Source::new("crates/x/src/a.rs", "#[cfg(test)]\nmod tests;\n")), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_not_left_in_a_comment() {
        let word = UNFINISHED[0];
        assert_eq!(whats(&Source::new("crates/x/src/a.rs", format!("// {word} later\n"))).len(), 1);
    }
}
