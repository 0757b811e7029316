//! Completion in shells: what `banger` says when a shell asks what could come next.
//!
//! The shell runs this program with [`VARIABLE`] set, by the script of `banger completion`. Words and flags come from
//! the same description that command lines are parsed by; what exists comes from the daemon, if it runs. It is asked
//! quickly and in silence: somebody waits with a finger on a key, and an error has no place to be shown. None is
//! started.

use crate::catalog::Catalog;
use crate::commands::Cli;
use crate::daemon::Daemon;
use banger_protocol::daemon_api::{image, kernel, vm};
use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Whose value is the shell that asks.
const VARIABLE: &str = "BANGER_COMPLETE";
const PROGRAM: &str = "banger";
/// How long somebody waits who pressed a key.
const LIMIT: Duration = Duration::from_millis(300);

/// Answers a shell and ends, if it is one that has run this program.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(command).var(VARIABLE).bin(PROGRAM).completer(PROGRAM).complete();
}

/// What a shell reads to ask from then on.
pub(crate) fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(&shell.to_string()).ok_or(io::ErrorKind::Unsupported)?;
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    Ok(script)
}

/// The command line's description, with what can stand for each of its names.
fn command() -> Command {
    name_values(Cli::command())
}

fn name_values(command: Command) -> Command {
    command.mut_args(complete_value).mut_subcommands(name_values)
}

/// By the name of the value, which is the same wherever the same is meant.
fn complete_value(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_ascii_uppercase();
    let value = arg.get_value_names().and_then(|names| names.first()).map_or(id, ToString::to_string);
    let candidates: fn() -> Candidates = match value.as_str() {
        "VM" => vms,
        "IMAGE" => || images().chain(offered_images()),
        "KERNEL" => || kernels().chain(offered_kernels()),
        "REF" => offered_images,
        "NAME" if arg.is_positional() => offered_kernels,
        "SRC" | "DST" => ends_in_vms,
        _ => return arg,
    };
    arg.add(ArgValueCompleter::new(move |current: &OsStr| candidates().that_continue(current)))
}

/// Names, each once, and what is to be said about them.
#[derive(Debug, Default)]
struct Candidates(BTreeMap<String, String>);

impl Candidates {
    fn of<N: ToString, H: ToString>(named: impl IntoIterator<Item = (N, H)>) -> Self {
        Self(named.into_iter().map(|(name, help)| (name.to_string(), help.to_string())).collect())
    }

    /// Those of `others` too that are not among these.
    fn chain(self, others: Self) -> Self {
        let mut all = others.0;
        all.extend(self.0);
        Self(all)
    }

    fn that_continue(self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begun = current.to_string_lossy();
        let fitting = self.0.into_iter().filter(|(name, _)| name.starts_with(&*begun));
        fitting.map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into()))).collect()
    }
}

fn vms() -> Candidates {
    let all = ask(|daemon| daemon.call(&vm::List {}).ok()).unwrap_or_default();
    Candidates::of(all.into_iter().map(|vm| (vm.name, vm.state)))
}

/// One end of a copy; the other is a path, which shells complete by themselves.
fn ends_in_vms() -> Candidates {
    Candidates(vms().0.into_iter().map(|(name, state)| (format!("{name}:"), state)).collect())
}

fn images() -> Candidates {
    let all = ask(|daemon| daemon.call(&image::List {}).ok()).unwrap_or_default();
    Candidates::of(all.into_iter().map(|image| (image.name, image.source)))
}

fn kernels() -> Candidates {
    let all = ask(|daemon| daemon.call(&kernel::List {}).ok()).unwrap_or_default();
    Candidates::of(all.into_iter().map(|kernel| (kernel.name, kernel.version)))
}

/// One that is wrong is told by the commands that need it.
fn offered() -> Catalog {
    let paths = crate::daemon::paths().ok();
    paths.and_then(|paths| Catalog::load(&paths).ok()).unwrap_or_else(Catalog::built_in)
}

fn offered_images() -> Candidates {
    Candidates::of(offered().images.into_iter().map(|entry| (entry.name, entry.description)))
}

fn offered_kernels() -> Candidates {
    Candidates::of(offered().kernels.into_iter().map(|entry| (entry.name, entry.description)))
}

/// What the daemon says in time.
fn ask<T: Send + 'static>(question: impl FnOnce(&mut Daemon) -> Option<T> + Send + 'static) -> Option<T> {
    let (sender, answers) = channel();
    // One that does not answer is left behind: this program ends before it.
    std::thread::spawn(move || {
        let answer = Daemon::connect_if_running().ok().flatten().and_then(|mut daemon| question(&mut daemon));
        let _ = sender.send(answer);
    });
    answers.recv_timeout(LIMIT).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completer_of(path: &[&str], arg: &str) -> bool {
        let mut command = command();
        for name in path {
            command = command.find_subcommand(name).unwrap_or_else(|| panic!("no {name}")).clone();
        }
        let arg = command.get_arguments().find(|found| found.get_id() == arg);
        arg.unwrap_or_else(|| panic!("no argument in {path:?}")).get::<ArgValueCompleter>().is_some()
    }

    #[test]
    fn names_of_vms_images_and_kernels_are_completed_wherever_they_are_asked_for() {
        for (path, arg) in [
            (&["vm", "start"][..], "vms"),
            (&["vm", "exec"], "vm"),
            (&["vm", "ssh"], "vm"),
            (&["vm", "cp"], "source"),
            (&["vm", "run"], "image"),
            (&["vm", "create"], "kernel"),
            (&["image", "delete"], "images"),
            (&["image", "show"], "image"),
            (&["image", "pull"], "reference"),
            (&["kernel", "rm"], "kernels"),
            (&["kernel", "pull"], "name"),
        ] {
            assert!(completer_of(path, arg), "{path:?} {arg}");
        }
        assert!(!completer_of(&["vm", "run"], "name"), "a new name is the user's to find");
    }

    #[test]
    fn what_is_here_goes_before_what_is_offered_and_only_what_continues_the_word_is_said() {
        let here = Candidates::of([("debian", "here"), ("mine", "here")]);
        let all = here.chain(Candidates::of([("debian", "offered"), ("other", "offered")]));
        assert_eq!(all.0.len(), 3);
        assert_eq!(all.0["debian"], "here");
        let said = all.that_continue(OsStr::new("de"));
        assert_eq!(said.iter().map(|one| one.get_value()).collect::<Vec<_>>(), ["debian"]);
    }

    #[test]
    fn every_shell_gets_a_script_that_asks_this_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains(PROGRAM), "{script}");
        }
    }
}
