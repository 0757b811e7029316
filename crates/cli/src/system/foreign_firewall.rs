//! Guests' traffic through a firewall that is not ours: Docker's or firewalld's. One rule or binding each, made with the
//! administrator's consent, known again by its mark, and taken back.
//!
//! What another chain drops in the same hook is dropped, whatever ours accepts: so theirs has to be told.

use crate::tool::{NotInstalled, Tool};
use banger_system::Firewall;
use std::io;
use std::process::Output;

/// By which a rule of ours is known among Docker's.
const MARK: &str = "banger";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    #[error(transparent)]
    NotInstalled(NotInstalled),
    #[error("`{0}` was not run")]
    Run(String, #[source] io::Error),
    #[error("`{words}` failed: {said}")]
    Refused { words: String, said: String },
}

/// What is typed to look whether it is there, to add it, and to take it back. Pure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub program: &'static str,
    /// Each thing that is added: how to see it, to make it, and to undo it.
    pub things: Vec<[Vec<String>; 3]>,
}

pub(crate) fn steps(firewall: Firewall, bridge: &str) -> Steps {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match firewall {
        // A chain that Docker jumps to before any rule of its own, and leaves to administrators.
        Firewall::Docker => {
            let rule =
                |direction: &str| format!("{direction} {bridge} -m comment --comment {MARK} -j ACCEPT");
            let thing = |direction| {
                let rule = rule(direction);
                ["-C", "-I", "-D"].map(|verb| words(format!("-w 10 {verb} DOCKER-USER {rule}")))
            };
            Steps { program: "iptables", things: vec![thing("-i"), thing("-o")] }
        }
        // Our own tables already say what guests reach, so the zone lets them.
        Firewall::Firewalld => {
            let thing = |permanent: &str| {
                ["query", "add", "remove"]
                    .map(|verb| words(format!("{permanent}--zone=trusted --{verb}-interface={bridge}")))
            };
            Steps { program: "firewall-cmd", things: vec![thing(""), thing("--permanent ")] }
        }
    }
}

/// Adds what is not there.
pub(crate) fn admit(firewall: Firewall, bridge: &str) -> Result<(), ForeignError> {
    each(
        firewall,
        bridge,
        |tool, [look, add, _]| {
            if run(tool, look)?.status.success() { Ok(()) } else { expect(tool, add) }
        },
    )
}

/// Takes back what is there. A firewall that has gone has taken it along.
pub(crate) fn forget(firewall: Firewall, bridge: &str) -> Result<(), ForeignError> {
    let taken =
        each(
            firewall,
            bridge,
            |tool, [look, _, remove]| {
                if run(tool, look)?.status.success() { expect(tool, remove) } else { Ok(()) }
            },
        );
    match taken {
        Err(ForeignError::NotInstalled(_)) => Ok(()),
        outcome => outcome,
    }
}

fn each(
    firewall: Firewall,
    bridge: &str,
    act: impl Fn(&Tool, &[Vec<String>; 3]) -> Result<(), ForeignError>,
) -> Result<(), ForeignError> {
    let Steps { program, things } = steps(firewall, bridge);
    let tool = Tool::find(program).map_err(ForeignError::NotInstalled)?;
    things.iter().try_for_each(|thing| act(&tool, thing))
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

    #[test]
    fn what_is_added_is_what_is_looked_for_and_taken_back() {
        for firewall in Firewall::ALL {
            let Steps { things, .. } = steps(firewall, "br-x");
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
}
