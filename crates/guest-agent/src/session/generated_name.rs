//! Names for sessions that were given none.

use banger_protocol::names::SessionName;

/// Leaves room for the number.
const LONGEST_STEM: usize = 40;

/// The command's own name with the first number that is free: `make-1`. Pure.
pub(super) fn generated_name(argv: &[String], is_taken: impl Fn(&SessionName) -> bool) -> SessionName {
    let program = argv.first().map_or("shell", |word| word.rsplit('/').next().unwrap_or_default());
    let fitting = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let stem: String = program.chars().map(fitting).take(LONGEST_STEM).collect();
    let stem = match stem.trim_matches('-') {
        "" => "session",
        stem => stem,
    };
    (1_u32..)
        .map(|number| format!("{stem}-{number}").parse().expect("letters and digits, a dash, and a number"))
        .find(|name| !is_taken(name))
        .expect("there are more numbers than sessions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(word: &str, taken: &[&str]) -> String {
        generated_name(&[word.to_owned()], |name| taken.contains(&name.as_str())).to_string()
    }

    #[test]
    fn a_name_tells_the_command_and_is_not_taken() {
        assert_eq!(name("make", &[]), "make-1");
        assert_eq!(name("/usr/bin/Make", &["make-1", "make-3"]), "make-2");
        assert_eq!(name("./run_tests.sh", &[]), "run-tests-sh-1");
        assert_eq!(generated_name(&[], |_| false).as_str(), "shell-1");
        for odd in ["", "/", "---", "ü"] {
            assert_eq!(name(odd, &[]), "session-1", "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_command_has_a_name(word: String) {
            let _ = name(&word, &["session-1"]);
        }
    }
}
