//! What is wrong with a command line, in the words and the form of every other failure.
//!
//! What somebody probably meant who mistyped a command or a flag, or who typed what they are used to from elsewhere is told too: `banger run` instead of
//! `banger vm run`, or a guest's command without the `--` in front of it. Both are refused, because a guess could be
//! wrong, and both are told how it is written.

use super::Cli;
use crate::failure::Failure;
use banger_config::mistyped;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::Path;

/// The same error, with the line that was probably meant if there is one.
pub(super) fn add(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<_> = words.iter().skip(1).map(|word| &**word).collect();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let meant = match error.kind() {
        ErrorKind::InvalidSubcommand => below_vm(&words)
            .or_else(|| with_the_nearest_command(&words, &text(ContextKind::InvalidSubcommand)?)),
        ErrorKind::UnknownArgument => {
            let unexpected = text(ContextKind::InvalidArg);
            unexpected.and_then(|unexpected| {
                behind_dashes(&words, &unexpected).or_else(|| with_the_nearest_flag(&words, &unexpected))
            })
        }
        _ => None,
    };
    let tip = match meant {
        Some(line) => Some(format!("did you mean `banger {line}`?")),
        None if error.kind() == ErrorKind::ArgumentConflict => detached(&words),
        None => None,
    };
    if let ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument = error.kind() {
        // What the parser would suggest is whatever has a few letters in common.
        for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::Suggested] {
            error.insert(kind, ContextValue::None);
        }
    }
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// A mistake as it is told; help that was asked for stays as it is.
pub(super) fn tell(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let rendered = error.render().to_string();
    let mut message = Vec::new();
    let mut hints = Vec::new();
    for line in rendered.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(first) = line.strip_prefix("error: ") {
            message.push(first);
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if line == "tip:" || line.starts_with("Usage: ") || line.starts_with("For more information") {
            // A suggestion that was taken back; and what the help tells, to which the line below leads.
        } else {
            message.push(line);
        }
    }
    hints.push(format!("`{} --help` shows the usage", command_of(words)));
    let failure = Failure::usage(message.join(" "));
    Some(hints.into_iter().fold(failure, Failure::with_hint))
}

/// The command that was typed, as far as there is one.
fn command_of(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let (_, names) = deepest(&words.iter().map(|word| &**word).collect::<Vec<_>>());
    names.iter().fold("banger".to_owned(), |line, name| format!("{line} {name}"))
}

/// The command that these words lead to, and its names on the way.
fn deepest(words: &[&str]) -> (clap::Command, Vec<String>) {
    let (mut command, mut names) = (Cli::command(), Vec::new());
    for word in words {
        let Some(sub) = command.find_subcommand(word).cloned() else { break };
        names.push(sub.get_name().to_owned());
        command = sub;
    }
    (command, names)
}

/// `vm start` for `vm strat`.
fn with_the_nearest_command(words: &[&str], wrong: &str) -> Option<String> {
    let (command, _) = deepest(words);
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let names: Vec<&str> =
        shown.flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_visible_aliases())).collect();
    let meant = mistyped(wrong, names.iter().copied())?;
    let at = words.iter().position(|word| *word == wrong)?;
    Some(typed(&[&words[..at], &[meant], &words[at + 1..]].concat()))
}

/// `--rm` for `--rn`.
fn with_the_nearest_flag(words: &[&str], wrong: &str) -> Option<String> {
    let (command, _) = deepest(words);
    let flags: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let meant = mistyped(wrong.strip_prefix("--")?, flags.iter().copied())?;
    let respelt = |word: &&str| match word.strip_prefix(wrong) {
        Some("") => Some(format!("--{meant}")),
        Some(value) if value.starts_with('=') => Some(format!("--{meant}{value}")),
        _ => None,
    };
    let at = words.iter().position(|word| respelt(word).is_some())?;
    let flag = respelt(&words[at])?;
    Some(typed(&[&words[..at], &[&flag], &words[at + 1..]].concat()))
}

/// Somebody wants a VM that stays and something from it at once.
fn detached(words: &[&str]) -> Option<String> {
    let ["vm", "run", rest @ ..] = words else { return None };
    let is_detached =
        rest.iter().take_while(|word| **word != "--").any(|word| ["-d", "--detach"].contains(word));
    is_detached.then(|| {
        "`-d` only creates and starts a VM: `banger vm run -d --name dev`, then `banger vm exec dev -- CMD`".to_owned()
    })
}

/// `run …` for `vm run …`.
fn below_vm(words: &[&str]) -> Option<String> {
    let cli = Cli::command();
    let vm = cli.find_subcommand("vm")?;
    vm.find_subcommand(words.first()?)?;
    Some(format!("vm {}", typed(words)))
}

/// `vm exec dev ls` for `vm exec dev -- ls`. A flag that nobody knows is a mistake of another kind.
fn behind_dashes(words: &[&str], unexpected: &str) -> Option<String> {
    let (["vm", "exec" | "run", ..] | ["vm", "session", "start", ..]) = words else { return None };
    if unexpected.starts_with('-') || words.contains(&"--") {
        return None;
    }
    let at = words.iter().rposition(|word| *word == unexpected)?;
    // The word before it was taken for the folder to bring along, and may be the command itself.
    let is_command = |word: &&str| !word.starts_with('-') && !looks_like_a_folder(word);
    let at = if words[1] == "run" && words[..at].last().is_some_and(is_command) { at - 1 } else { at };
    let (before, command) = words.split_at(at);
    Some(format!("{} -- {}", typed(before), typed(command)))
}

fn looks_like_a_folder(word: &str) -> bool {
    word.contains('/') || [".", ".."].contains(&word) || Path::new(word).is_dir()
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

    fn refused(line: &str) -> Failure {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = add(Cli::try_parse_from(&words).expect_err("it is refused"), &words);
        tell(&error, &words).expect("it is no question for help")
    }

    fn told(line: &str) -> String {
        let report = refused(line).report.expect("something is said");
        format!("{}\n{}", report.message, report.hints.join("\n"))
    }

    #[test]
    fn a_mistake_is_one_sentence_and_leads_to_the_help_of_its_command() {
        let told_of = told("banger vm kill --signal HUP dev");
        assert!(
            told_of
                .starts_with("invalid value 'HUP' for '--signal <SIGNAL>' [possible values: TERM, KILL]\n"),
            "{told_of}"
        );
        assert!(told_of.ends_with("`banger vm kill --help` shows the usage"), "{told_of}");
        assert_eq!(refused("banger vm kill").code, crate::failure::USAGE);
        assert!(told("banger vm strat").contains("`banger vm --help`"));
    }

    #[test]
    fn help_that_was_asked_for_is_no_mistake() {
        for line in ["banger --help", "banger vm", "banger --version"] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = Cli::try_parse_from(&words).expect_err("help is an error to the parser");
            assert!(tell(&error, &words).is_none(), "{line}");
        }
    }

    #[test]
    fn whoever_detaches_a_command_is_told_the_two_commands_it_takes() {
        assert!(told("banger vm run -d -- make").contains("banger vm exec dev -- CMD"));
        assert!(!told("banger vm list -q --json").contains("-d only"));
    }

    #[test]
    fn a_command_of_vm_is_found_without_its_first_word() {
        assert!(told("banger run --rm").contains("`banger vm run --rm`"), "{}", told("banger run --rm"));
        assert!(told("banger ls").contains("`banger vm ls`"), "{}", told("banger ls"));
        assert!(!told("banger frobnicate").contains("did you mean"));
    }

    #[test]
    fn a_guests_command_without_its_dashes_is_shown_with_them() {
        let told_of = told("banger vm exec dev ls /");
        assert!(told_of.contains("`banger vm exec dev -- ls /`"), "{told_of}");
        let told_of = told("banger vm session start dev web npm start");
        assert!(told_of.contains("`banger vm session start dev web -- npm start`"), "{told_of}");
        let told_of = told("banger vm exec dev ls -l");
        assert!(told_of.contains("`banger vm exec dev -- ls -l`"), "{told_of}");
        assert!(!told("banger vm exec --nosuch dev").contains("did you mean"));
        for (typed, meant) in [
            ("banger vm run make test", "`banger vm run -- make test`"),
            ("banger vm run --rm make test", "`banger vm run --rm -- make test`"),
            ("banger vm run ./repo make test", "`banger vm run ./repo -- make test`"),
            ("banger vm run . make", "`banger vm run . -- make`"),
        ] {
            assert!(told(typed).contains(meant), "{typed}: {}", told(typed));
        }
    }

    #[test]
    fn a_mistyped_command_or_flag_is_shown_as_it_was_meant_and_nothing_else_is() {
        for (typed, meant) in [
            ("banger vm strat dev", "did you mean `banger vm start dev`?"),
            ("banger vn ls", "did you mean `banger vm ls`?"),
            ("banger vm run --rn", "did you mean `banger vm run --rm`?"),
            ("banger vm run --rn -- make", "did you mean `banger vm run --rm -- make`?"),
            ("banger vm create --memroy=4G", "did you mean `banger vm create --memory=4G`?"),
            ("banger vm create --cpus 2", "did you mean `banger vm create --vcpu 2`?"),
        ] {
            let told = told(typed);
            assert!(!told.contains("tip:"), "{typed}: {told}");
            assert_eq!(told.lines().nth(1), Some(meant), "{typed}: {told}");
            assert_eq!(told.lines().count(), 3, "{typed}: {told}");
        }
        let told_of = told("banger vm run --frobnicate");
        assert!(!told_of.contains("did you mean") && !told_of.contains("tip:"), "{told_of}");
    }

    #[test]
    fn a_tip_can_be_pasted() {
        assert_eq!(typed(&["vm", "run", "--", "sh", "-c", "a; b's"]), r"vm run -- sh -c 'a; b'\''s'");
        assert_eq!(typed(&[""]), "''");
    }
}
