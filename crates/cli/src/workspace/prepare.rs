//! The verb: brings a folder into a VM that runs, or up to date there.

use super::host::Snapshot;
use super::inside::{self, Inside};
use super::options::{as_before, known_here};
use super::place::{is_laid, make_folder, unless_occupied};
use super::sent_tree::SentTree;
use super::{Interrupt, Options, PrepareError, Source, lay, tools, update};
use crate::daemon::Daemon;
use crate::git::inspect::Repository;
use crate::guest::Input;
use crate::printer;
use banger_protocol::daemon_api::workspace::{Chosen, Mode, Prepare, Record, Workspace};
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
    let mut inside = Inside { daemon, vm: vm.clone(), place, interrupt: interrupt.clone() };
    let workspace = match &source.repository {
        Some((repository, snapshot)) if inside.has_git()? => {
            with_git(&mut inside, repository, snapshot, options, known.as_ref())?
        }
        Some((repository, snapshot)) => {
            printer::talk(format_args!("the guest has no git: the files go in without history"));
            unless_occupied(&mut inside, options)?;
            make_folder(&mut inside)?;
            let files: Vec<Vec<u8>> =
                snapshot.files().into_keys().chain(snapshot.besides.iter().cloned()).collect();
            inside.lay(&repository.root, files.iter().map(Vec::as_slice))?;
            Workspace { chosen: options.chosen(), ..blank(source, &inside.place, options.mode) }
        }
        None => {
            printer::talk(format_args!("{} is in no repository: all of it is copied", source.root.display()));
            unless_occupied(&mut inside, options)?;
            make_folder(&mut inside)?;
            inside.lay_all(&source.root)?;
            blank(source, &inside.place, Mode::FullCopy)
        }
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
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
    known: Option<&Workspace>,
) -> Result<Workspace, PrepareError> {
    let (head, mode) = (snapshot.commit.clone(), options.mode);
    let mut workspace = Workspace {
        host_path: repository.root.display().to_string(),
        guest_path: inside.place.clone(),
        head,
        branch: lay::branch(repository, options).map(str::to_owned),
        base_tree: None,
        mode,
        chosen: options.chosen(),
        prepared: String::new(),
    };
    let sent = SentTree::of(repository, snapshot)?;
    let known = known.filter(|known| known.base_tree.is_some());
    if let Some(known) = known
        && is_laid(inside)?
    {
        if options.branch != known.chosen.branch {
            return Err(PrepareError::BranchTooLate);
        }
        let (tree, changed) = update::update(inside, repository, snapshot, options, known, &sent)?;
        printer::remark(format_args!("{changed} files changed in {}", inside.place));
        workspace.branch = update::branch_after(repository, options, known)?;
        workspace.base_tree = Some(believed(sent, &tree));
        return Ok(workspace);
    }
    unless_occupied(inside, options)?;
    if snapshot.submodules > 0 && mode == Mode::Shallow {
        let count = snapshot.submodules;
        printer::talk(format_args!("{count} submodules stay empty: `--mode full_copy` brings their files"));
    }
    if options.from.is_some() {
        printer::remark("changes of the working tree stay here: `--from` names a commit");
    }
    let tree = lay::lay(inside, repository, snapshot, options)?;
    workspace.base_tree = Some(believed(sent, &tree));
    Ok(workspace)
}

/// What the guest's work will be compared with: what was sent, whatever the guest says that it has.
fn believed(sent: SentTree, told: &str) -> String {
    if sent.oid != told {
        printer::warning(
            "what lies in the guest is not what was sent: files changed meanwhile, or the guest does not tell the \
             truth. `banger vm workspace diff` shows that as its work",
        );
    }
    sent.oid
}

/// On record: files, and nothing that git would know of them.
fn blank(source: &Source, place: &str, mode: Mode) -> Workspace {
    Workspace {
        host_path: source.host_path(),
        guest_path: place.to_owned(),
        head: None,
        branch: None,
        base_tree: None,
        mode,
        chosen: Chosen::default(),
        prepared: String::new(),
    }
}
