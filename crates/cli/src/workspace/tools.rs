//! The tools that a repository says it is worked on with: `mise` installs them in the guest and finds them for commands.

use super::PrepareError;
use super::inside::Inside;
use crate::guest::{self, Command, Input, said};
use banger_protocol::daemon_api::workspace::Workspace;
use banger_protocol::guest_api::{Exec, Exit};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Files by which a repository names its tools.
const NAMING: [&str; 3] = [".mise.toml", "mise.toml", ".tool-versions"];
/// What an installation said; in git's folder, where it is no change of the repository.
const LOG: &str = ".git/banger-bootstrap.log";
/// A folder whose settings mise believes without asking.
const TRUSTED: &str = "MISE_TRUSTED_CONFIG_PATHS";

/// The file in a folder that names its tools.
pub(crate) fn wants_tools(root: &Path) -> Option<&'static str> {
    NAMING.into_iter().find(|name| root.join(name).symlink_metadata().is_ok_and(|about| about.is_file()))
}

/// Installs them. That it did not go well is told and ends nothing.
pub(super) fn install(inside: &mut Inside<'_>, names: &str) -> Result<Option<String>, PrepareError> {
    let place = inside.place.clone();
    let env = [(TRUSTED, place.as_str()), ("MISE_YES", "1")];
    let done = inside.run(&["mise", "-C", &place, "install"], &env, Input::None)?;
    if let Exit::NotStarted { .. } = done.exit {
        return Ok(Some(format!("the guest has no mise: the tools listed in {names} were not installed")));
    }
    if inside.find(&["rev-parse", "--git-dir"])?.is_some() {
        inside.write_file(LOG, &[done.stdout, done.stderr].concat())?;
    }
    let name = &inside.vm;
    let failed = format!(
        "some tools listed in {names} were not installed: `banger vm exec {name} -- cat {place}/{LOG}` shows why"
    );
    Ok((done.exit != Exit::Code(0)).then_some(failed))
}

/// Has a command in a workspace find the tools it names, where the guest has mise. A shell finds them by its own settings.
pub(crate) fn through_mise(
    command: &mut Command,
    workspace: &Workspace,
    connect: impl FnOnce() -> Option<UnixStream>,
) {
    if command.argv.is_empty() || wants_tools(Path::new(&workspace.host_path)).is_none() {
        return;
    }
    let asked = Exec {
        argv: ["mise", "--version"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: None,
        user: command.user.clone(),
        terminal: None,
        stdin: false,
    };
    // Where that cannot be told, the command itself will tell.
    let done = connect().and_then(|agent| guest::run_task(agent, &asked, Input::None).ok());
    if done.is_some_and(|done| done.exit == Exit::Code(0)) {
        let words = ["mise", "exec", "--"].map(str::to_owned);
        command.argv.splice(0..0, words);
        command.env.entry(TRUSTED.to_owned()).or_insert_with(|| said(&workspace.guest_path));
    }
}
