//! Programs of the host that banger runs.
//!
//! A tool is looked up once and run by its absolute path, without a shell and with a cleared environment: only
//! what it needs to find its own programs and the network is passed on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// System folders that an ordinary user's `PATH` may lack.
const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a tool is given of the caller's environment.
const PASSED_ON: [&str; 10] = [
    "HOME",
    // Where an image is unpacked, gigabytes of it: the usual folder may be too small.
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SOURCE_DATE_EPOCH",
];

/// A program that exists.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not installed")]
pub(crate) struct NotInstalled(pub String);

impl Tool {
    /// The first of that name in `PATH` and the system's own folders.
    pub(crate) fn find(name: &str) -> Result<Self, NotInstalled> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let system = OsStr::new(SYSTEM_FOLDERS);
        let found =
            std::env::split_paths(&own).chain(std::env::split_paths(system)).map(|folder| folder.join(name));
        let mut found = found.filter(|path| path.is_absolute());
        found
            .find(|path| is_program(path))
            .map(|path| Self { path })
            .ok_or_else(|| NotInstalled(name.to_owned()))
    }

    /// The program at `path`, if there is one.
    pub(crate) fn at(path: PathBuf) -> Option<Self> {
        is_program(&path).then_some(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A run of it in a cleared environment, its messages in English so that they can be understood.
    pub(crate) fn command(&self) -> Command {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        if !path.as_bytes().is_empty() {
            path.push(":");
        }
        path.push(SYSTEM_FOLDERS);
        let mut command = self.command_of_the_user();
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8").env("LC_MESSAGES", "C");
        command.envs(PASSED_ON.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
        command
    }

    /// A run of it as if the user had typed it, in the user's whole environment.
    #[expect(clippy::disallowed_methods, reason = "this is the type that runs programs")]
    pub(crate) fn command_of_the_user(&self) -> Command {
        Command::new(&self.path)
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_its_absolute_path_or_not_at_all() {
        assert!(Tool::find("sh").unwrap().path().is_absolute());
        assert!(Tool::find("surely-no-such-program").is_err());
        assert!(Tool::at("/etc/passwd".into()).is_none(), "a file that is no program was taken for one");
    }

    #[test]
    fn a_tool_sees_only_what_it_is_given() {
        let output = Tool::find("env").unwrap().command().env("GIVEN", "1").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("GIVEN=1") && !text.contains("CARGO"), "{text}");
    }
}
