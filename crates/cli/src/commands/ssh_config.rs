use super::vm_ssh::{config_word, program_word, shell_word};
use crate::daemon;
use crate::failure::{Failure, Outcome};
use crate::marked_block::{self, MarkedBlockError};
use crate::places;
use crate::printer;
use banger_config::Config;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Set up ssh, scp, rsync, and editors to reach VMs as `NAME.vm`
///
/// `banger ssh-config --install` writes an SSH client configuration and includes it from `~/.ssh/config`; then `ssh dev.vm`
/// works. `--uninstall` undoes both. Without a flag, the configuration is printed and nothing changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the configuration and include it from `~/.ssh/config`
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Remove the configuration and its include
    #[arg(long)]
    uninstall: bool,
}

/// banger's file, beside its settings.
const FILE: &str = "ssh_config";
/// How it begins, by which it is known as ours.
const OURS: &str = "# Written by `banger ssh-config --install`";

#[derive(Debug, thiserror::Error)]
enum SshConfigError {
    #[error("HOME is not set")]
    NoHome,
    #[error(transparent)]
    UsersFile(#[from] MarkedBlockError),
    #[error("{} was not written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was not removed", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<SshConfigError> for Failure {
    fn from(error: SshConfigError) -> Self {
        let failure = Self::of(&error);
        match &error {
            SshConfigError::UsersFile(MarkedBlockError::Write { .. }) => failure.with_hint(
                "if another tool manages this file, add the lines there: `banger ssh-config` prints them",
            ),
            SshConfigError::UsersFile(MarkedBlockError::Unended(_)) => {
                failure.with_hint("remove banger's lines from it, then try again")
            }
            _ => failure,
        }
    }
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let paths = daemon::paths()?;
        let key = Config::read(&paths)?.ssh_key_path.value;
        let text = render(&places::own_program()?.to_string_lossy(), &key.to_string_lossy());
        if !self.install && !self.uninstall {
            printer::data(&text)?;
            return Ok(0);
        }
        let ours = paths.config.with_file_name(FILE);
        let users = users_file()?;
        let (changed, done) = if self.install {
            (install(&ours, &text, &users)?, "now knows *.vm")
        } else {
            (uninstall(&ours, &users)?, "is as it was before")
        };
        let done = if changed { done } else { "needed no change" };
        printer::talk(format_args!("{} {done}", users.display()));
        Ok(0)
    }
}

fn users_file() -> Result<PathBuf, SshConfigError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(SshConfigError::NoHome)?;
    Ok(Path::new(&home).join(".ssh/config"))
}

/// Ours first: what is included and not there is nothing to ssh, and says nothing about it either.
fn install(ours: &Path, text: &str, users: &Path) -> Result<bool, SshConfigError> {
    let write = |source| SshConfigError::Write { path: ours.to_owned(), source };
    let is_new = fs::read(ours).ok().as_deref() != Some(text.as_bytes());
    if is_new {
        marked_block::write(ours, text.as_bytes()).map_err(write)?;
    }
    Ok(is_new | marked_block::put(users, &format!("Include \"{}\"\n", pattern_of(&ours.to_string_lossy())))?)
}

fn uninstall(ours: &Path, users: &Path) -> Result<bool, SshConfigError> {
    let changed = marked_block::take_out(users)?;
    // Something else of this name is somebody else's.
    if !fs::read(ours).is_ok_and(|text| text.starts_with(OURS.as_bytes())) {
        return Ok(changed);
    }
    fs::remove_file(ours).map_err(|source| SshConfigError::Remove { path: ours.to_owned(), source })?;
    Ok(true)
}

fn render(program: &str, key: &str) -> String {
    format!(
        "{OURS}, which overwrites it.
Host *.vm
    User root
    ProxyCommand {} internal connect %h %p
    KnownHostsCommand {} internal known-hosts %H
    UserKnownHostsFile none
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    CheckHostIP no
    IdentityFile {}
    IdentitiesOnly yes
",
        shell_word(program),
        program_word(program),
        config_word(key),
    )
}

/// A pattern of `Include` that a path matches: what ssh could read as anything but itself, and some versions of it do,
/// is any one character (glob(7)).
fn pattern_of(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/ ._-+,:@=".contains(c);
    path.chars().map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_path_is_a_pattern_that_means_itself() {
        assert_eq!(pattern_of("/home/ada/.config/banger/ssh_config"), "/home/ada/.config/banger/ssh_config");
        assert_eq!(pattern_of("/a b/it's 100%/$x/[y]*\"\\"), "/a b/it?s 100?/?x/?y????");
    }

    #[test]
    fn uninstalling_removes_no_file_of_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, users) = (folder.path().join("ssh_config"), folder.path().join("config"));
        install(&ours, &render("/banger", "/key"), &users).unwrap();
        fs::write(&ours, "Host mine\n").unwrap();
        assert!(uninstall(&ours, &users).unwrap());
        assert_eq!(fs::read_to_string(&ours).unwrap(), "Host mine\n");
        assert!(!users.exists());

        assert!(install(&ours, &render("/banger", "/key"), &users).unwrap());
        assert!(!install(&ours, &render("/banger", "/key"), &users).unwrap(), "twice is not once");
        assert!(uninstall(&ours, &users).unwrap() && !ours.exists());
        assert!(!uninstall(&ours, &users).unwrap());
    }
}
