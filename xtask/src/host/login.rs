//! Commands in the host, over ssh: whose they are, and that their words arrive as they were typed.

use super::image::Image;
use crate::place::Place;
use crate::tool::Tool;
use anyhow::Result;

/// The name the host's key is known by, at whatever port it is found.
pub(super) const KNOWN_AS: &str = "banger-test-host";

/// Somebody in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// An ordinary user in the group `kvm`, with sub-ids, who may become root with `sudo`.
    Dev,
    Root,
}

impl User {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Root => "root",
        }
    }
}

/// How the host is reached.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) image: Image,
    pub(super) port: u16,
}

impl Login {
    /// ssh with everything but the command.
    pub(super) fn ssh(&self, place: &Place, user: User) -> Result<Tool> {
        Ok(Tool::find(place, "ssh")?.args(self.options()).args([
            "-p",
            &self.port.to_string(),
            &format!("{}@127.0.0.1", user.name()),
        ]))
    }

    /// A command whose words arrive as they are here.
    pub(super) fn command<W: AsRef<str>>(&self, place: &Place, user: User, words: &[W]) -> Result<Tool> {
        Ok(self.ssh(place, user)?.args(["--", &quoted(words)]))
    }

    /// rsync between here and there; paths there begin with [`HOST_PREFIX`].
    pub(super) fn rsync(&self, place: &Place, user: User, paths: &[&str]) -> Result<Tool> {
        let ssh: Vec<String> = std::iter::once("ssh".to_owned())
            .chain(self.options())
            .chain(["-p".to_owned(), self.port.to_string()])
            .collect();
        let paths = paths.iter().map(|path| remote_path(path, user));
        Ok(Tool::find(place, "rsync")?
            .args([
                "--archive",
                "--no-owner",
                "--no-group",
                "--sparse",
                "--protect-args",
                "--rsh",
                &quoted(&ssh),
                "--",
            ])
            .args(paths))
    }

    fn options(&self) -> Vec<String> {
        // The developer's own configuration and agent have no say in this.
        let mut options = vec!["-F".to_owned(), "none".to_owned(), "-i".to_owned()];
        options.push(self.image.login_key().to_string_lossy().into_owned());
        let known = format!("UserKnownHostsFile=\"{}\"", self.image.known_hosts().display());
        let known_as = format!("HostKeyAlias={KNOWN_AS}");
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "LogLevel=ERROR",
            "ServerAliveInterval=30",
            "ServerAliveCountMax=20",
            &known,
            &known_as,
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }
}

/// What a path in the host begins with on the command line.
pub(super) const HOST_PREFIX: &str = "host:";

fn remote_path(path: &str, user: User) -> String {
    match path.strip_prefix(HOST_PREFIX) {
        Some(there) => format!("{}@127.0.0.1:{there}", user.name()),
        None => path.to_owned(),
    }
}

/// One line that the shell in the host takes apart into these words again.
fn quoted<W: AsRef<str>>(words: &[W]) -> String {
    let word = |word: &W| format!("'{}'", word.as_ref().replace('\'', r"'\''"));
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell_that_ssh_insists_on() {
        let words = ["a b", "c'd", "$HOME", "", "*", "\\"];
        let place = Place::find().expect("tests run from a target folder");
        let script = format!("printf '[%s]' {}", quoted(&words));
        let printed = Tool::find(&place, "sh").expect("a shell").args(["-c", &script]).output();
        assert_eq!(printed.expect("it runs"), "[a b][c'd][$HOME][][*][\\]");
    }

    #[test]
    fn only_paths_in_the_host_are_the_user_s_there() {
        assert_eq!(remote_path("host:/etc/x", User::Root), "root@127.0.0.1:/etc/x");
        assert_eq!(remote_path("./host:x", User::Dev), "./host:x");
    }
}
