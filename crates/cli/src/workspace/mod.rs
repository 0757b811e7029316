//! A folder of the user's, inside a VM.
//!
//! ```text
//! host                                             guest
//! inspect, snapshot                                git init
//! pack-objects ───────── last commits ───────────▶ index-pack, checkout
//! working tree ───────── what differs ───────────▶ laid over it
//! index        ───────── what is staged ─────────▶ update-index
//!                                                  refs/banger/base: what was laid
//! ```
//!
//! Both gits do what they do best, and nothing of the copy is ever a file of the host's: killed at any instruction, this
//! leaves nothing here and in the guest a folder that the next prepare makes whole. The daemon is asked for the VM's turn
//! first ([`banger_protocol::daemon_api::workspace`]) and told at the end what lies where.
//!
//! What must stay true: the host's repository is only read, by [`crate::git`]. What a guest answers decides at most which of
//! the files that are its to have are sent again; what was sent is named by the host alone ([`sent_tree`]).

mod decide;
mod failure;
mod host;
mod inside;
mod lay;
mod sent_tree;
mod tools;
mod update;

pub(crate) use failure::PrepareError;
pub(crate) use inside::Interrupt;
pub(crate) use tools::{through_mise, wants_tools};

use crate::daemon::Daemon;
use crate::git::inspect::{Found, Repository, inspect};
use crate::guest::Input;
use crate::printer;
use banger_protocol::daemon_api::workspace::{Chosen, Mode, Prepare, Record, Turn, Workspace};
use banger_protocol::guest_api::Exit;
use banger_protocol::names::VmRef;
use host::Snapshot;
use inside::Inside;
use sent_tree::SentTree;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a user wants of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub mode: Mode,
    pub include_untracked: bool,
    /// A branch made in the guest.
    pub branch: Option<String>,
    /// The commit that it starts from, instead of the working tree.
    pub from: Option<String>,
    pub readonly: bool,
    pub force: bool,
    pub guest_path: Option<String>,
    /// Install the tools that the repository names.
    pub bootstrap: bool,
}

impl Options {
    /// What of it holds for every time after.
    fn chosen(&self) -> Chosen {
        let Self { include_untracked, branch, from, .. } = self.clone();
        Chosen { include_untracked, branch, from }
    }
}

/// A folder of the host that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    root: PathBuf,
    /// Where in it the user pointed.
    below: PathBuf,
    repository: Option<(Repository, Snapshot)>,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub workspace: Workspace,
    /// Where in the guest the user pointed.
    pub folder: String,
    /// What went wrong beside it.
    pub warnings: Vec<String>,
}

impl Source {
    /// Looks at a folder, and refuses what cannot be brought anywhere.
    pub(crate) fn look(path: &Path, options: &Options) -> Result<Self, PrepareError> {
        match inspect(path).map_err(PrepareError::Inspect)? {
            Found::Folder(root) if options.branch.is_some() => Err(PrepareError::NoRepository(root)),
            Found::Folder(root) => Ok(Self { root, below: PathBuf::new(), repository: None }),
            Found::Repository(repository) => {
                if let Some(branch) = &options.branch {
                    let legal = repository.git.run(&["check-ref-format", "--branch", branch]);
                    legal.map_err(|_| PrepareError::BranchName(branch.clone()))?;
                }
                let snapshot = Snapshot::take(&repository, options)?;
                let (root, below) = (repository.root.clone(), repository.below.clone());
                Ok(Self { root, below, repository: Some((*repository, snapshot)) })
            }
        }
    }

    /// What a first prepare would lay, a line for each file.
    pub(crate) fn list(&self) -> Result<String, PrepareError> {
        let files: Vec<Vec<u8>> = match &self.repository {
            Some((_, snapshot)) => {
                let mut files: Vec<_> =
                    snapshot.files().into_keys().chain(snapshot.besides.iter().cloned()).collect();
                files.sort();
                files
            }
            None => host::every_file(&self.root, true)?,
        };
        Ok(files.iter().map(|path| format!("A {}\n", shown(path))).collect())
    }

    /// The file in it that names the tools it is worked on with.
    pub(crate) fn names_tools(&self) -> Option<&'static str> {
        wants_tools(&self.root)
    }

    fn place(&self) -> String {
        let name = self.root.file_name().and_then(|name| name.to_str());
        format!("/root/{}", name.unwrap_or("workspace"))
    }

    fn host_path(&self) -> String {
        self.root.display().to_string()
    }
}

/// A path on one line: what a terminal would obey, and what is no UTF-8, is escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    path.utf8_chunks()
        .flat_map(|chunk| {
            let text = chunk
                .valid()
                .chars()
                .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() });
            text.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"))).collect::<Vec<_>>()
        })
        .collect()
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

/// What a prepare would do in a VM, a line for each file; nothing is changed.
pub(crate) fn preview(
    daemon: &mut Daemon,
    vm: &VmRef,
    source: &Source,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<String, PrepareError> {
    let turn = daemon.call(&Prepare { vm: vm.clone() }).map_err(PrepareError::Daemon)?;
    let known = known_here(&turn, source, options);
    let (_, source) = &as_before(source, options, known.as_ref())?;
    let (Some(known), Some((repository, snapshot))) = (known, &source.repository) else {
        return source.list();
    };
    let vm = VmRef(turn.id.to_string());
    let mut inside = Inside { daemon, vm, place: known.guest_path.clone(), interrupt: interrupt.clone() };
    if !is_laid(&mut inside)? {
        return source.list();
    }
    let steps = update::compare(&mut inside, repository, snapshot)?.steps;
    let mut lines: BTreeMap<&[u8], char> = steps.lay.iter().map(|path| (path.as_slice(), 'M')).collect();
    lines.extend(steps.remove.iter().map(|path| (path.as_slice(), 'D')));
    // In conflict, as git's own short status has it.
    lines.extend(steps.conflicts.iter().map(|path| (path.as_slice(), 'U')));
    Ok(lines.iter().map(|(path, letter)| format!("{letter} {}\n", shown(path))).collect())
}

/// What is on record of this very folder in this very place.
fn known_here(turn: &Turn, source: &Source, options: &Options) -> Option<Workspace> {
    let known = turn.workspace.clone()?;
    let same_place = options.guest_path.as_ref().is_none_or(|place| *place == known.guest_path);
    (same_place && known.host_path == source.host_path()).then_some(known)
}

/// What is wanted, and what was wanted of it before, which goes on being followed; and the folder looked at in that way.
fn as_before<'s>(
    source: &'s Source,
    options: &Options,
    known: Option<&Workspace>,
) -> Result<(Options, Cow<'s, Source>), PrepareError> {
    let mut wanted = options.clone();
    if let Some(known) = known {
        if known.mode == Mode::FullCopy && source.repository.is_some() {
            wanted.mode = Mode::FullCopy;
        }
        wanted.include_untracked |= known.chosen.include_untracked;
        if wanted.branch.is_none() {
            wanted.branch.clone_from(&known.chosen.branch);
        }
        if wanted.from.is_none() {
            wanted.from.clone_from(&known.chosen.from);
        }
    }
    let files = |options: &Options| (options.mode, options.include_untracked, options.from.clone());
    let source = if files(&wanted) == files(options) {
        Cow::Borrowed(source)
    } else {
        Cow::Owned(Source::look(&source.root.join(&source.below), &wanted)?)
    };
    Ok((wanted, source))
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

/// Whether what was laid is still known in the guest, which may have removed it.
fn is_laid(inside: &mut Inside<'_>) -> Result<bool, PrepareError> {
    let base = inside.find(&["rev-parse", "--quiet", "--verify", lay::BASE])?;
    Ok(base.is_some() && inside.find(&["config", "--get", lay::UNFINISHED])?.is_none())
}

/// Refuses a place where something is that banger did not lay, unless forced to use it.
fn unless_occupied(inside: &mut Inside<'_>, options: &Options) -> Result<(), PrepareError> {
    let place = inside.place.clone();
    let listed = inside.run(&["ls", "-A", "--", &place], &[], Input::None)?;
    if listed.exit != Exit::Code(0) || listed.stdout.is_empty() {
        return Ok(());
    }
    // A repository that says nothing at all was begun and did not get to say that it is not finished.
    let is_bare_beginning =
        listed.stdout == b".git\n" && inside.find(&["rev-parse", "--quiet", "--verify", "HEAD"])?.is_none();
    if is_bare_beginning || inside.find(&["config", "--get", lay::UNFINISHED])?.is_some() {
        return lay::take_over(inside);
    }
    if options.force {
        return Ok(());
    }
    Err(PrepareError::Occupied { place })
}

fn make_folder(inside: &mut Inside<'_>) -> Result<(), PrepareError> {
    let place = inside.place.clone();
    let done = inside.run(&["mkdir", "-p", "--", &place], &[], Input::None)?;
    inside::succeeded(&["mkdir"], done).map(drop)
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

/// Whether the repository that a workspace came from is at another commit now; not known of one that is gone.
pub(crate) fn has_moved_on(workspace: &Workspace) -> bool {
    let Some(head) = &workspace.head else { return false };
    let now = crate::git::Git::at(Path::new(&workspace.host_path))
        .and_then(|git| git.find(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]));
    now.is_ok_and(|now| now.is_some_and(|now| now != head.as_bytes()))
}

/// A place in a guest, as a user names one.
pub(crate) fn guest_path(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let plain = Path::new(text).components().all(|part| {
        matches!(part, std::path::Component::RootDir)
            || matches!(part, std::path::Component::Normal(name) if !name.as_bytes().starts_with(b"-"))
    });
    if text.starts_with('/') && plain && !trimmed.is_empty() {
        Ok(trimmed.to_owned())
    } else {
        Err("a place in a guest is an absolute path such as /root/work".to_owned())
    }
}
