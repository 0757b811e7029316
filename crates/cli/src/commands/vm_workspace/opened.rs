//! A VM's workspace, and what was done in it.

use crate::commands::vm_ssh::shell_word;
use crate::daemon::Daemon;
use crate::export::{FetchError, Limits, Oid, Refused, ShowError, Stop, VerifyError, Work};
use crate::failure::{Failure, Outcome};
use crate::git::inspect::{Found, Repository, inspect};
use crate::places;
use crate::printer;
use crate::signals::Signals;
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::daemon_api::workspace::{Prepare, Status, Workspace};
use banger_protocol::names::VmRef;
use std::path::Path;

/// A VM's workspace and the repository that it is of.
pub(super) struct Opened {
    pub(super) vm: String,
    pub(super) workspace: Workspace,
    pub(super) repository: Repository,
}

impl Opened {
    pub(super) fn find(vm: &str) -> Result<Self, Failure> {
        let status = Daemon::connect()?.call(&Status { vm: VmRef(vm.to_owned()) })?;
        let vm = status.name.to_string();
        let workspace = status.workspace.ok_or_else(|| {
            Failure::message(format!("VM `{vm}` has no workspace"))
                .with_hint(format!("`banger vm workspace prepare {vm} PATH` copies a repository in"))
        })?;
        let path = Path::new(&workspace.host_path);
        let found = inspect(path).map_err(|error| {
            let failure = Failure::of(&error).reason_for("the repository on the host was not found");
            match error.hint() {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        })?;
        match found {
            Found::Repository(repository) => Ok(Self { vm, workspace, repository: *repository }),
            Found::Folder(folder) => {
                Err(Failure::message(format!("{} is not a git repository", folder.display())).with_hint(
                    format!("`banger vm cp {vm}:{} .` copies the files out", workspace.guest_path),
                ))
            }
        }
    }

    /// What was done in the guest, judged. Nobody brings anything in meanwhile, and what was brought in while we waited
    /// for that is what the work is compared with.
    pub(super) fn fetch(&mut self, stop: &Stop) -> Result<Work, Failure> {
        let mut daemon = Daemon::connect()?;
        stop.connected(daemon.stream());
        let turn = daemon.call(&Prepare { vm: VmRef(self.vm.clone()) })?;
        if let Some(workspace) = turn.workspace.filter(|now| now.host_path == self.workspace.host_path) {
            self.workspace = workspace;
        }
        let paths = places::find().map_err(|error| Failure::of(&error))?;
        let connect = || {
            let vm = VmRef(self.vm.clone());
            let mut daemon = Daemon::connect().map_err(|error| Unreachable::of(error.into()))?;
            let connected = daemon.call_receiving(&Connect { vm });
            connected.map(|(_, agent)| agent).map_err(|error| Unreachable::of(Failure::from(error)))
        };
        let (cache, limits) = (&paths.paths.cache, Limits::default());
        let work = Work::fetch(&self.workspace, &self.repository, cache, limits, stop, connect)
            .map_err(|error| self.not_fetched(&error))?;
        for path in work.edited_submodules() {
            let place = format!("{}/{path}", self.workspace.guest_path);
            printer::warning(format_args!(
                "files in the submodule {path} were changed in the VM, and submodules are not exported: `banger vm exec \
                 {} -- git -C {} diff HEAD` shows the changes",
                self.vm,
                shell_word(&place)
            ));
        }
        Ok(work)
    }

    fn not_fetched(&self, error: &FetchError) -> Failure {
        let vm = &self.vm;
        let failure = Failure::of(error).reason_for(format!("the changes in VM `{vm}` were not exported"));
        match error {
            FetchError::Refused(refused) => failure.with_hint(self.way_out(refused)),
            FetchError::BaseGone(commit) => failure.with_hint(format!(
                "it is what the VM began with; `git fetch` may bring {commit} back, and `banger vm cp \
                 {vm}:{} .` copies the files out",
                self.workspace.guest_path
            )),
            FetchError::Connect(_) => {
                failure.with_hint(format!("if the VM is stopped, start it: `banger vm start {vm}`"))
            }
            FetchError::Ask(_) => {
                failure.with_hint(format!("`banger vm exec {vm} -- git status` may say more"))
            }
            FetchError::Host(_)
            | FetchError::Quarantine(_)
            | FetchError::Copied(_)
            | FetchError::Judge(_) => failure,
        }
    }

    /// The same of what was refused only when it was looked at.
    pub(super) fn not_shown(&self, error: &ShowError) -> Failure {
        let failure =
            Failure::of(error).reason_for(format!("the changes in VM `{}` were not exported", self.vm));
        match error {
            ShowError::Judge(VerifyError::Refused(refused)) => failure.with_hint(self.way_out(refused)),
            _ => failure,
        }
    }

    pub(super) fn way_out(&self, refused: &Refused) -> String {
        let (vm, guest_path) = (&self.vm, &self.workspace.guest_path);
        let there = format!("banger vm exec {vm} -- git -C {guest_path}");
        match refused {
            Refused::Submodule { path } => format!(
                "move it out of the tree, or add it to .gitignore; if it was added as a submodule, run `{there} rm --cached \
                 -- {}` first",
                shell_word(path)
            ),
            Refused::MovedSubmodule { path, from } => {
                let inside =
                    format!("banger vm exec {vm} -- git -C {}", shell_word(&format!("{guest_path}/{path}")));
                format!(
                    "`{inside} format-patch --stdout {from}` prints its commits; after `{inside} checkout {from}` the \
                     rest can be exported"
                )
            }
            Refused::Submodules(_) | Refused::Spelling { .. } => {
                format!("`{there} checkout {} -- .gitmodules` reverts that", self.base())
            }
            Refused::TooMany(_) | Refused::TooLarge { .. } | Refused::TooMuch(_) => {
                format!("add build output to .gitignore; `banger vm cp {vm}:PATH .` copies files out")
            }
            Refused::NotAPack(_) | Refused::Object(_) | Refused::Path { .. } | Refused::Incomplete(_) => {
                format!(
                    "unmodified git does not send this; if you do not know where it comes from, delete the VM: `banger vm delete {vm}`"
                )
            }
        }
    }

    fn base(&self) -> &str {
        self.workspace.head.as_deref().unwrap_or("HEAD")
    }
}

/// The tree to compare with: of the commit that was named, or what the VM began with.
pub(super) fn first(opened: &Opened, work: &Work, commit: Option<&str>) -> Result<Oid, Failure> {
    let Some(commit) = commit else { return Ok(work.first().clone()) };
    let found = work.tree_of(&opened.repository, commit).map_err(|error| Failure::of(&error))?;
    found.ok_or_else(|| {
        Failure::message(format!("the repository on this host has no commit `{commit}`"))
            .with_hint(format!("`git -C {} log` lists its commits", opened.workspace.host_path))
    })
}

/// The daemon's refusal, as an error that can be the cause of another.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(String);

impl Unreachable {
    fn of(failure: Failure) -> Self {
        Self(failure.report.map_or_else(|| "it was interrupted".to_owned(), |report| report.message))
    }
}

/// Does something that Ctrl-C ends cleanly.
pub(super) fn interruptible(work: impl FnOnce(&Stop) -> Outcome) -> Outcome {
    let signals = Signals::take().map_err(|error| Failure::of(&error))?;
    let stop = Stop::default();
    let obeying = stop.obey(&signals);
    let outcome = work(&stop);
    drop(obeying);
    stop.judge(outcome)
}
