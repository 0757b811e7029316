//! What can be asked of the test host.

use super::login::User;
use super::machine::Size;
use anyhow::{Context as _, Result, bail};

pub(super) const USAGE: &str = "\
usage: cargo xtask host <command>

A whole Debian 12 in QEMU with systemd, device mapper, a resolver, and a KVM that works wherever this runs.
Nothing in it can reach this machine or a network, and all that is written in it goes when it ends.

  build                  its disk; made once and kept (`up` does so by itself)
  up [--memory MIB] [--processors N] [--no-user-namespaces]
                         boots it and brings Firecracker and jailer in: those that BANGER_FIRECRACKER and
                         BANGER_JAILER name, or those on the PATH
  run [--root] -- CMD    a command in it, as the ordinary user `dev`, who has sudo
  shell [--root]         a shell in it
  copy [--root] FROM... TO
                         files in or out; what begins with `host:` is in the host
  status                 whether it is up, and where
  down                   ends it

`cargo xtask test --ring guest --on-host` runs the guest tests in it, or in one of their own when it is not up.";

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Explain,
    Build,
    Up(Size),
    Run { user: User, words: Vec<&'a str> },
    Shell { user: User },
    Copy { user: User, paths: Vec<&'a str> },
    Status,
    Down,
}

impl<'a> Command<'a> {
    pub(super) fn parse(arguments: &[&'a str]) -> Result<Self> {
        let user = |words: &mut &[&'a str]| match words {
            ["--root", rest @ ..] => {
                *words = rest;
                User::Root
            }
            _ => User::Dev,
        };
        Ok(match arguments {
            [] | ["help" | "--help" | "-h"] => Self::Explain,
            ["build"] => Self::Build,
            ["up", rest @ ..] => Self::Up(size(rest)?),
            ["run", rest @ ..] => {
                let mut rest = rest;
                let user = user(&mut rest);
                match rest {
                    ["--", words @ ..] if !words.is_empty() => Self::Run { user, words: words.to_vec() },
                    _ => bail!("which command? `cargo xtask host run [--root] -- CMD`"),
                }
            }
            ["shell"] => Self::Shell { user: User::Dev },
            ["shell", "--root"] => Self::Shell { user: User::Root },
            ["copy", rest @ ..] => {
                let mut rest = rest;
                let user = user(&mut rest);
                if rest.len() < 2 || rest.iter().any(|path| path.starts_with('-')) {
                    bail!("from where to where? `cargo xtask host copy [--root] FROM... TO`");
                }
                Self::Copy { user, paths: rest.to_vec() }
            }
            ["status"] => Self::Status,
            ["down"] => Self::Down,
            _ => bail!("`{}` is not a command\n\n{USAGE}", arguments.join(" ")),
        })
    }
}

fn size(mut words: &[&str]) -> Result<Size> {
    let mut size = Size::default();
    loop {
        words = match words {
            [] => return Ok(size),
            ["--memory", value, rest @ ..] => {
                size.memory_mib = number("--memory", value)?;
                rest
            }
            ["--processors", value, rest @ ..] => {
                size.processors = number("--processors", value)?;
                rest
            }
            ["--no-user-namespaces", rest @ ..] => {
                size.user_namespaces = false;
                rest
            }
            [other, ..] => bail!("`cargo xtask host up` does not know `{other}`, or its value is missing"),
        };
    }
}

fn number(flag: &str, value: &str) -> Result<u32> {
    let number: u32 = value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"))?;
    if number == 0 {
        bail!("{flag} 0 is no machine");
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(line: &'a str) -> Result<Command<'a>> {
        Command::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn a_command_is_everything_after_the_dashes() {
        let run = |user, words: &[&'static str]| Command::Run { user, words: words.to_vec() };
        assert_eq!(parse("run -- ls --root").expect("a command"), run(User::Dev, &["ls", "--root"]));
        assert_eq!(parse("run --root -- id").expect("a command"), run(User::Root, &["id"]));
        for wrong in ["run", "run --", "run ls", "run --root ls"] {
            assert!(parse(wrong).is_err(), "`{wrong}` was accepted");
        }
    }

    #[test]
    fn sizes_are_defaults_unless_given() {
        assert_eq!(parse("up").expect("a command"), Command::Up(Size::default()));
        let size = Size { memory_mib: 4096, processors: 1, user_namespaces: false };
        let line = "up --memory 4096 --no-user-namespaces --processors 1";
        assert_eq!(parse(line).expect("a command"), Command::Up(size));
        for wrong in ["up --memory", "up --memory 4G", "up --processors 0", "up now"] {
            assert!(parse(wrong).is_err(), "`{wrong}` was accepted");
        }
    }

    #[test]
    fn a_copy_needs_both_ends_and_takes_no_flags_of_rsync() {
        let copy = Command::Copy { user: User::Dev, paths: vec!["a", "b", "host:"] };
        assert_eq!(parse("copy a b host:").expect("a command"), copy);
        for wrong in ["copy", "copy a", "copy --delete a host:"] {
            assert!(parse(wrong).is_err(), "`{wrong}` was accepted");
        }
    }
}
