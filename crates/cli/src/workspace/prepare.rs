//! The verb: brings a folder into a VM that runs, or up to date there.

use super::compare::{Looked, compare};
use super::host::Snapshot;
use super::inside::{self, Inside};
use super::options::{as_before, known_here};
use super::place::unless_occupied;
use super::sent_tree::SentTree;
use super::update::update;
use super::{Interrupt, Options, PrepareError, Source, head, lay, tools, without_git};
use crate::daemon::Daemon;
use crate::git::inspect::Repository;
use crate::guest::Input;
use crate::printer;
use banger_protocol::daemon_api::workspace::{Prepare, Record, Workspace};
use banger_protocol::names::VmRef;

/// What was done.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub workspace: Workspace,
    /// Where in the guest the user pointed.
    pub folder: String,
    /// What went wrong beside it.
    pub warnings: Vec<String>,
}

/// Brings a folder into a VM that runs, or up to date there.
pub(crate) fn prepare(
    daemon: &mut Daemon,
    vm: &VmRef,
    source: &Source,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Prepared, PrepareError> {
    let turn = daemon.call(&Prepare { vm: vm.clone() }).map_err(PrepareError::Daemon)?;
    let vm = VmRef(turn.id.to_string());
    let known = known_here(&turn, source, options);
    let (options, source) = &as_before(source, options, known.as_ref())?;
    let place = match (&options.guest_path, &known) {
        (Some(place), _) => place.clone(),
        (None, Some(known)) => known.guest_path.clone(),
        (None, None) => source.place(),
    };
    let mut inside = Inside::begin(daemon, vm.clone(), place, interrupt)?;
    let workspace = match &source.repository {
        Some(of_git) => with_git(&mut inside, source, of_git, options, known.as_ref())?,
        None => without_git::bring(&mut inside, source, options)?,
    };
    let warnings = match source.names_tools() {
        Some(names) if options.bootstrap => tools::install(&mut inside, names)?.into_iter().collect(),
        _ => Vec::new(),
    };
    if options.readonly {
        let place = inside.place.clone();
        let done = inside.run(&["chmod", "-R", "a-w", "--", &place], &[], Input::None)?;
        inside::succeeded(&["chmod"], done)?;
    }
    let workspace = inside.daemon.call(&Record { vm, workspace }).map_err(PrepareError::Daemon)?;
    let below = source.below.to_string_lossy();
    let folder = if below.is_empty() {
        workspace.guest_path.clone()
    } else {
        format!("{}/{below}", workspace.guest_path)
    };
    Ok(Prepared { workspace, folder, warnings })
}

fn with_git(
    inside: &mut Inside<'_>,
    source: &Source,
    (repository, snapshot): &(Repository, Snapshot),
    options: &Options,
    known: Option<&Workspace>,
) -> Result<Workspace, PrepareError> {
    let known = known.filter(|known| known.base_tree.is_some());
    let head = known.and_then(|known| known.head.as_deref());
    let looked = compare(inside, repository, snapshot, head)?;
    if let Looked::NoGit = looked {
        return without_git::bring(inside, source, options);
    }
    let mut workspace = Workspace {
        host_path: source.host_path(),
        guest_path: inside.place.clone(),
        head: snapshot.commit.clone(),
        branch: head::branch(repository, options).map(str::to_owned),
        base_tree: None,
        mode: options.mode,
        chosen: options.chosen(),
        prepared: String::new(),
    };
    let sent = SentTree::of(repository, snapshot)?;
    if let (Looked::Laid(compared), Some(known)) = (looked, known) {
        if options.branch != known.chosen.branch {
            return Err(PrepareError::BranchTooLate);
        }
        compared.check(inside, snapshot, options)?;
        workspace.branch = head::branch_after(repository, options, known)?;
        let tree = update(inside, repository, snapshot, &sent, workspace.branch.as_deref(), &compared)?;
        let steps = compared.all_steps(snapshot);
        printer::remark(format_args!(
            "{} files changed in {}",
            steps.lay.len() + steps.remove.len(),
            inside.place
        ));
        workspace.base_tree = Some(believed(sent, &tree));
        return Ok(workspace);
    }
    unless_occupied(inside, options)?;
    if snapshot.empty_submodules > 0 {
        let count = snapshot.empty_submodules;
        printer::talk(format_args!(
            "{count} submodules stay empty: use `--mode full_copy` to copy their files"
        ));
    }
    if options.from.is_some() {
        printer::remark("uncommitted changes are not copied, because `--from` names a commit");
    }
    let tree = lay::lay(inside, repository, snapshot, options)?;
    workspace.base_tree = Some(believed(sent, &tree));
    Ok(workspace)
}

/// What the guest's work will be compared with: what was sent, whatever the guest says that it has.
fn believed(sent: SentTree, told: &str) -> String {
    if sent.oid != told {
        printer::warning(
            "the files in the guest differ from what was sent: they changed meanwhile, or the guest did not tell the \
             truth. `banger vm workspace diff` shows that as its work",
        );
    }
    sent.oid
}
