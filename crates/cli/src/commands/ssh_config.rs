use super::vm_ssh::{config_word, shell_word};
use crate::daemon;
use crate::failure::{Failure, Outcome};
use crate::places;
use crate::printer;
use banger_config::Config;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Let plain ssh, scp, rsync and editors reach VMs as `NAME.vm`.
///
/// `banger ssh-config --install` puts a marked block into `~/.ssh/config`; then `ssh dev.vm`. `--uninstall` puts
/// the file back as it was. Without either the block is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Put the block into `~/.ssh/config`, or renew it.
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Take the block out again.
    #[arg(long)]
    uninstall: bool,
}

const BEGIN: &str = "# >>> banger: written by `banger ssh-config --install`\n";
const END: &str = "# <<< banger\n";

#[derive(Debug, thiserror::Error)]
enum SshConfigError {
    #[error("HOME is not set")]
    NoHome,
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was not changed", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was not changed: banger's block begins in it and does not end", .0.display())]
    Unended(PathBuf),
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let block = block()?;
        if !self.install && !self.uninstall {
            printer::data(&block)?;
            return Ok(0);
        }
        let changed =
            change(|before| if self.install { with_block(before, &block) } else { without_block(before) });
        let (path, changed) = changed.map_err(|error| Failure::of(&error))?;
        printer::talk(match (changed, self.install) {
            (true, true) => format!("{} now knows *.vm", path.display()),
            (true, false) => format!("{} is as it was before", path.display()),
            (false, _) => format!("{} needed no change", path.display()),
        });
        Ok(0)
    }
}

fn block() -> Result<String, Failure> {
    let program = places::own_program()?;
    let program = program.to_string_lossy();
    let paths = daemon::paths()?;
    let key = Config::read(&paths)?.ssh_key_path.value;
    Ok(format!(
        "{BEGIN}Host *.vm
    User root
    ProxyCommand {} internal connect %h %p
    KnownHostsCommand {} internal known-hosts %H
    UserKnownHostsFile none
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    CheckHostIP no
    IdentityFile {}
    IdentitiesOnly yes
# What the file says before its first `Host` is for every host, as without this block.
Host *
{END}",
        shell_word(&program),
        config_word(&program),
        config_word(&key.to_string_lossy()),
    ))
}

/// The file with the block in front, where it wins over a `Host *` of the user's; `None` when one is unended.
fn with_block(before: &str, block: &str) -> Option<String> {
    without_block(before).map(|rest| format!("{block}{rest}"))
}

/// The file as it was before there was a block in it.
fn without_block(before: &str) -> Option<String> {
    let Some(begin) = before.find(BEGIN) else { return Some(before.to_owned()) };
    let end = before[begin..].find(END)?;
    Some(format!("{}{}", &before[..begin], &before[begin + end + END.len()..]))
}

/// Rewrites `~/.ssh/config`, a symbolic link's target if it is one, through a new file beside it. A file that was
/// made for the block alone goes with it.
fn change(rewrite: impl Fn(&str) -> Option<String>) -> Result<(PathBuf, bool), SshConfigError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(SshConfigError::NoHome)?;
    let folder = Path::new(&home).join(".ssh");
    let shown = folder.join("config");
    let path = fs::canonicalize(&shown).unwrap_or_else(|_| shown.clone());
    let (before, existed) = match fs::read_to_string(&path) {
        Ok(text) => (text, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), false),
        Err(source) => return Err(SshConfigError::Read { path, source }),
    };
    let after = rewrite(&before).ok_or_else(|| SshConfigError::Unended(path.clone()))?;
    if after == before {
        return Ok((shown, false));
    }
    let written =
        if after.is_empty() && existed { fs::remove_file(&path) } else { write(&path, &after, existed) };
    written.map_err(|source| SshConfigError::Write { path, source })?;
    Ok((shown, true))
}

fn write(path: &Path, text: &str, existed: bool) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    let mode = if existed { fs::metadata(path)?.permissions() } else { fs::Permissions::from_mode(0o600) };
    new.as_file().set_permissions(mode)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "# >>> banger: written by `banger ssh-config --install`\nHost *.vm\n# <<< banger\n";

    #[test]
    fn taking_the_block_out_restores_the_file_to_the_byte() {
        for before in ["", "Host a\n  User b\n", "no newline at the end", "\n\n# comment\r\n"] {
            let with = with_block(before, BLOCK).unwrap();
            assert!(with.contains("Host *.vm"));
            assert_eq!(without_block(&with).as_deref(), Some(before));
            assert_eq!(
                with_block(&with, BLOCK).as_deref(),
                Some(with.as_str()),
                "a second install changed it"
            );
        }
    }

    #[test]
    fn a_block_that_does_not_end_is_left_alone() {
        assert_eq!(without_block(&format!("Host a\n{BEGIN}Host *.vm\n")), None);
    }
}
