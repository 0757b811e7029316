//! Guests' traffic through a firewall that is not ours: Docker's or firewalld's. One rule or binding each, made with the
//! administrator's consent, known again by its mark, and taken back.
//!
//! What another chain drops in the same hook is dropped, whatever ours accepts: so theirs has to be told.

use crate::tool::{NotInstalled, Tool};
use banger_system::{Firewall, docker};
use std::io;
use std::process::Output;

/// What `firewall-cmd` ends with where firewalld does not run (firewall-cmd(1), NOT_RUNNING).
const NOT_RUNNING: i32 = 252;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    #[error(transparent)]
    NotInstalled(NotInstalled),
    #[error("`{0}` was not run")]
    Run(String, #[source] io::Error),
    #[error("`{words}` failed: {said}")]
    Refused { words: String, said: String },
    #[error("it does not run, and its settings cannot be changed without it")]
    Stopped(#[source] NotInstalled),
}

impl ForeignError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Stopped(_) => Some("`sudo systemctl start firewalld`, then run this again"),
            Self::NotInstalled(_) | Self::Run(..) | Self::Refused { .. } => None,
        }
    }
}

/// What is typed to look whether it is there, to add it, and to take it back. Pure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub program: &'static str,
    /// Each thing that is added: how to see it, to make it, and to undo it.
    pub things: Vec<[Vec<String>; 3]>,
    /// What stays of it where the firewall does not run: by which program, how to see it and to undo it.
    pub stopped: Option<(&'static str, [Vec<String>; 2])>,
}

pub(crate) fn steps(firewall: Firewall, bridge: &str) -> Steps {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match firewall {
        Firewall::Docker => {
            let [look, add, remove] = ["-C", "-I", "-D"].map(|verb| docker::rules(verb, bridge));
            let things = look.into_iter().zip(add).zip(remove);
            let things = things.map(|((look, add), remove)| [look, add, remove]).collect();
            Steps { program: "iptables", things, stopped: None }
        }
        // Our own tables already say what guests reach, so the zone lets them.
        Firewall::Firewalld => {
            let typed = |permanent: &str, verb| {
                words(format!("{permanent}--zone=trusted --{verb}-interface={bridge}"))
            };
            let thing = |permanent| ["query", "add", "remove"].map(|verb| typed(permanent, verb));
            let offline = ["query", "remove"].map(|verb| typed("", verb));
            Steps {
                program: "firewall-cmd",
                things: vec![thing(""), thing("--permanent ")],
                stopped: Some(("firewall-offline-cmd", offline)),
            }
        }
    }
}

/// Adds what is not there.
pub(crate) fn admit(firewall: Firewall, bridge: &str) -> Result<(), ForeignError> {
    let steps = steps(firewall, bridge);
    let tool = Tool::find(steps.program).map_err(ForeignError::NotInstalled)?;
    steps.things.iter().try_for_each(|[look, add, _]| match ask(&tool, look)? {
        Answer::Yes => Ok(()),
        // Where it could not be asked it says why it does not add, either.
        Answer::No | Answer::Stopped | Answer::None => expect(&tool, add),
    })
}

/// Takes back what is there. A firewall that has gone has taken it along.
pub(crate) fn forget(firewall: Firewall, bridge: &str) -> Result<(), ForeignError> {
    let steps = steps(firewall, bridge);
    match Tool::find(steps.program) {
        Ok(tool) => take_back(&tool, &steps, Tool::find),
        Err(_) => Ok(()),
    }
}

fn take_back(
    tool: &Tool,
    steps: &Steps,
    find: impl Fn(&str) -> Result<Tool, NotInstalled>,
) -> Result<(), ForeignError> {
    for [look, _, remove] in &steps.things {
        match (ask(tool, look)?, &steps.stopped) {
            (Answer::Yes, _) => expect(tool, remove)?,
            (Answer::No, _) => {}
            // What it had in memory has gone with it; what it will begin with is in its files.
            (Answer::Stopped, Some((program, [look, remove]))) => {
                let offline = find(program).map_err(ForeignError::Stopped)?;
                return match ask(&offline, look)? {
                    Answer::Yes => expect(&offline, remove),
                    Answer::No => Ok(()),
                    Answer::Stopped | Answer::None => expect(&offline, look),
                };
            }
            (Answer::Stopped | Answer::None, _) => expect(tool, look)?,
        }
    }
    Ok(())
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// The firewall does not run.
    Stopped,
    /// It could not be asked.
    None,
}

/// What a program that looks for something ends with: of iptables(8) anything above 1 is trouble with the question, a
/// lock or a right. Pure.
fn answer(code: Option<i32>) -> Answer {
    match code {
        Some(0) => Answer::Yes,
        Some(1) => Answer::No,
        Some(NOT_RUNNING) => Answer::Stopped,
        _ => Answer::None,
    }
}

fn ask(tool: &Tool, words: &[String]) -> Result<Answer, ForeignError> {
    Ok(answer(run(tool, words)?.status.code()))
}

fn run(tool: &Tool, words: &[String]) -> Result<Output, ForeignError> {
    let output = tool.command().args(words).output();
    output.map_err(|source| ForeignError::Run(typed(tool, words), source))
}

fn expect(tool: &Tool, words: &[String]) -> Result<(), ForeignError> {
    let output = run(tool, words)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ForeignError::Refused { words: typed(tool, words), said })
}

fn typed(tool: &Tool, words: &[String]) -> String {
    format!("{} {}", tool.path().display(), words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_added_is_what_is_looked_for_and_taken_back() {
        for firewall in Firewall::ALL {
            let Steps { things, stopped, .. } = steps(firewall, "br-x");
            if let Some((_, [look, remove])) = stopped {
                assert_eq!([&look, &remove], [&things[0][0], &things[0][2]]);
            }
            assert_eq!(things.len(), 2);
            for [look, add, remove] in things {
                let same = |words: &[String]| {
                    let verbs = ["-C", "-I", "-D"];
                    let word = |word: &String| {
                        let word = if verbs.contains(&word.as_str()) { "-" } else { word };
                        word.replace("query", "?").replace("add", "?").replace("remove", "?")
                    };
                    words.iter().map(word).collect::<Vec<_>>()
                };
                assert!(same(&look) == same(&add) && same(&add) == same(&remove), "{add:?}");
                assert!(look != add && add != remove);
                assert!(add.iter().any(|word| word.contains("br-x")));
            }
        }
    }

    /// A program that notes what it is told, and looks with this outcome.
    fn program(folder: &Path, name: &str, queried: i32) -> Tool {
        let path = folder.join(name);
        let script = format!(
            "#!/bin/sh\necho {name} \"$@\" >> {0}/asked\ncase \"$*\" in *query*) exit {queried};; esac\n",
            folder.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Tool::at(path).unwrap()
    }

    #[test]
    fn what_could_not_be_looked_for_is_not_taken_for_gone() {
        let steps = steps(Firewall::Firewalld, "br-x");
        let outcome = |online: i32, offline: Option<i32>| {
            let folder = tempfile::tempdir().unwrap();
            let tool = program(folder.path(), "firewall-cmd", online);
            let find = |name: &str| match offline {
                Some(code) => Ok(program(folder.path(), name, code)),
                None => Err(NotInstalled(name.to_owned())),
            };
            let outcome = take_back(&tool, &steps, find);
            let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
            let removed = asked.lines().filter(|line| line.contains("remove")).map(str::to_owned).collect();
            (outcome, removed)
        };
        let (done, removed): (_, Vec<String>) = outcome(0, None);
        assert!(done.is_ok() && removed.len() == 2, "{done:?} {removed:?}");
        let (done, removed) = outcome(1, None);
        assert!(done.is_ok() && removed.is_empty(), "{done:?} {removed:?}");
        // It does not run: its files are changed without it, or it is said what to do.
        let (done, removed) = outcome(NOT_RUNNING, Some(0));
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(removed, ["firewall-offline-cmd --zone=trusted --remove-interface=br-x"]);
        let (done, removed) = outcome(NOT_RUNNING, Some(1));
        assert!(done.is_ok() && removed.is_empty(), "{done:?} {removed:?}");
        let (done, _) = outcome(NOT_RUNNING, None);
        assert!(done.unwrap_err().hint().is_some_and(|hint| hint.contains("start firewalld")));
        for trouble in [(2, None), (13, None), (NOT_RUNNING, Some(2))] {
            let (done, removed) = outcome(trouble.0, trouble.1);
            assert!(matches!(done, Err(ForeignError::Refused { .. })), "{trouble:?} {done:?}");
            assert!(removed.is_empty());
        }
    }
}
