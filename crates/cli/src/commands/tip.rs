//! What somebody probably meant who typed what they are used to from elsewhere.
//!
//! `banger run` instead of `banger vm run`, and a guest's command without the `--` in front of it: both are refused,
//! because a guess could be wrong, and both are told how it is written.

use super::Cli;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// The same error, with the line that was probably meant if there is one.
pub(super) fn add(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<_> = words.iter().skip(1).map(|word| &**word).collect();
    let meant = match error.kind() {
        ErrorKind::InvalidSubcommand => below_vm(&words),
        ErrorKind::UnknownArgument => behind_dashes(&words, error.get(ContextKind::InvalidArg)),
        _ => None,
    };
    if let Some(line) = meant {
        let tip = format!("this is written `banger {line}`").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// `run …` for `vm run …`.
fn below_vm(words: &[&str]) -> Option<String> {
    let cli = Cli::command();
    let vm = cli.find_subcommand("vm")?;
    vm.find_subcommand(words.first()?)?;
    Some(format!("vm {}", typed(words)))
}

/// `vm exec dev ls` for `vm exec dev -- ls`. A flag that nobody knows is a mistake of another kind.
fn behind_dashes(words: &[&str], unexpected: Option<&ContextValue>) -> Option<String> {
    let (["vm", "exec" | "run", ..] | ["vm", "session", "start", ..]) = words else { return None };
    let ContextValue::String(unexpected) = unexpected? else { return None };
    if unexpected.starts_with('-') || words.contains(&"--") {
        return None;
    }
    let at = words.iter().rposition(|word| word == unexpected)?;
    let (before, command) = words.split_at(at);
    Some(format!("{} -- {}", typed(before), typed(command)))
}

/// The words as a shell takes them.
pub(super) fn typed(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => (*word).to_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn told(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        add(Cli::try_parse_from(&words).expect_err("it is refused"), &words).to_string()
    }

    #[test]
    fn a_command_of_vm_is_found_without_its_first_word() {
        assert!(told("banger run --rm").contains("`banger vm run --rm`"), "{}", told("banger run --rm"));
        assert!(told("banger ls").contains("`banger vm ls`"), "{}", told("banger ls"));
        assert!(!told("banger frobnicate").contains("this is written"));
    }

    #[test]
    fn a_guests_command_without_its_dashes_is_shown_with_them() {
        let told_of = told("banger vm exec dev ls /");
        assert!(told_of.contains("`banger vm exec dev -- ls /`"), "{told_of}");
        let told_of = told("banger vm session start dev web npm start");
        assert!(told_of.contains("`banger vm session start dev web -- npm start`"), "{told_of}");
        let told_of = told("banger vm exec dev ls -l");
        assert!(told_of.contains("`banger vm exec dev -- ls -l`"), "{told_of}");
        assert!(!told("banger vm exec --nosuch dev").contains("this is written"));
    }

    #[test]
    fn a_tip_can_be_pasted() {
        assert_eq!(typed(&["vm", "run", "--", "sh", "-c", "a; b's"]), r"vm run -- sh -c 'a; b'\''s'");
        assert_eq!(typed(&[""]), "''");
    }
}
