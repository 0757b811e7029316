//! What of a repository is to be brought up to date in a guest: asked there once for each repository, and nothing is
//! changed by it. Which files of the host are looked at is the host's to say: a guest that names others as laid learns
//! nothing of them.

use super::decide::{Content, Guest, Steps, decide};
use super::files::{self, Contents};
use super::host::Snapshot;
use super::inside::{Inside, scripted};
use super::place::unless_occupied;
use super::within::Within;
use super::{Options, PrepareError};
use crate::git::inspect::{Kind, Repository};
use crate::git::{MalformedOutput, changes, index, oid, path_of};
use crate::guest::Input;
use banger_copy::{Found, Looking};
use banger_protocol::guest_api::Exit;
use std::collections::{BTreeMap, BTreeSet};

/// `$1` is the place; `$2` is `moved` if the commit there matters. Prints one line of `no-git`, `other` or `laid`; after the
/// last, a line with that commit or `-`, every file that was laid as an index has it, a NUL, and those changed since.
const LOOK: &str = r#"
git --git-dir="$1/.git" rev-parse -q --verify refs/banger/base >/dev/null 2>&1
case $? in 0) ;; 126 | 127) echo no-git; exit 0 ;; *) echo other; exit 0 ;; esac
set -e
cd -- "$1"
# Somebody in the guest may be using git, and is given a moment. Nothing of ours runs by now: what an update left locked that
# was cut off, the guest being killed with it, nobody unlocks any more.
locked() { [ -n "$(find .git/*.lock .git/refs -name '*.lock' 2>/dev/null)" ]; }
rm -f .git/banger-*.lock .git/refs/banger/*.lock
tries=0
while locked && [ "$tries" -lt 30 ]; do sleep 0.1; tries=$((tries + 1)); done
if [ -e .git/banger-updating ]; then
    rm -f .git/*.lock
    find .git/refs -name '*.lock' -exec rm -f {} + || :
    rm -f .git/banger-updating
fi
echo laid
if [ "$2" != moved ] || ! git rev-parse -q --verify 'HEAD^{commit}'; then echo -; fi
export GIT_INDEX_FILE="$PWD/.git/banger-index"
git ls-files --stage -z
printf '\0'
if ! git diff-files --quiet --ignore-submodules=all; then
    git update-index -q --refresh >/dev/null || :
    git diff-files --raw -z --no-renames --ignore-submodules=all
fi
"#;

/// What a place in a guest is.
#[derive(Debug)]
pub(super) enum Looked {
    NoGit,
    /// Nothing that banger laid.
    Other,
    Laid(Box<Comparison>),
}

/// What is to be done, and what is known for it.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) steps: Steps,
    /// The commit at which it was laid.
    pub(super) head: Option<String>,
    /// The guest's own commit, where it is on one that was not laid and another is to come.
    pub(super) own: Option<String>,
    /// Laid once and still here, but not sent any more: left alone there and looked after no longer.
    pub(super) left_alone: Vec<Vec<u8>>,
    /// The commits at which submodules are that were laid.
    pub(super) submodules: BTreeMap<Vec<u8>, Content>,
    /// What git does not look after: what the host has, and what is to be done.
    pub(super) besides: (Contents, Steps),
    /// The same of each submodule that has a repository here; `None` for one that is still to be laid.
    pub(super) within: Vec<Option<Comparison>>,
}

impl Comparison {
    /// Every step, those of submodules below their paths.
    pub(super) fn all_steps(&self, snapshot: &Snapshot) -> Steps {
        let mut all = self.steps.clone();
        let mut add = |steps: Steps, way: &[u8]| {
            let below = |paths: Vec<Vec<u8>>| paths.into_iter().map(move |path| [way, &path].concat());
            all.lay.extend(below(steps.lay));
            all.remove.extend(below(steps.remove));
            all.conflicts.extend(below(steps.conflicts));
        };
        add(self.besides.1.clone(), b"");
        for (within, compared) in snapshot.within.iter().zip(&self.within) {
            let way = [&within.path[..], b"/"].concat();
            let steps = match compared {
                Some(compared) => compared.all_steps(&within.snapshot),
                None => Steps { lay: within.snapshot.files().into_keys().collect(), ..Steps::default() },
            };
            add(steps, &way);
        }
        all
    }

    /// Refuses to lose what the guest has, unless forced to.
    pub(super) fn check(
        &self,
        inside: &mut Inside<'_>,
        snapshot: &Snapshot,
        options: &Options,
    ) -> Result<(), PrepareError> {
        let conflicts = self.all_steps(snapshot).conflicts;
        if !options.force && !conflicts.is_empty() {
            return Err(PrepareError::Edited { paths: conflicts });
        }
        if !options.force && self.has_own_commits() {
            return Err(PrepareError::Committed { place: inside.place.clone() });
        }
        self.check_new_within(inside, snapshot, options)
    }

    /// The same of what the guest has where submodules are still to be laid.
    fn check_new_within(
        &self,
        inside: &mut Inside<'_>,
        snapshot: &Snapshot,
        options: &Options,
    ) -> Result<(), PrepareError> {
        snapshot.within.iter().zip(&self.within).try_for_each(|(within, compared)| {
            inside.within(&within.path, |inside| match compared {
                Some(compared) => compared.check_new_within(inside, &within.snapshot, options),
                None => unless_occupied(inside, options),
            })
        })
    }

    fn has_own_commits(&self) -> bool {
        self.own.is_some() || self.within.iter().flatten().any(Self::has_own_commits)
    }
}

/// Looks into the place. `head` is the commit at which it was laid.
pub(super) fn compare(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
    head: Option<&str>,
) -> Result<Looked, PrepareError> {
    let moved = snapshot.commit.as_deref() != head;
    let place = inside.place.clone();
    let argv = ["/bin/sh", "-c", &scripted(LOOK), "banger", &place, if moved { "moved" } else { "" }];
    let done = inside.run_quietly(&argv, Input::None)?;
    if let Exit::NotStarted { .. } = done.exit {
        return Ok(Looked::NoGit);
    }
    let output = super::inside::succeeded(&["diff-files"], done)?;
    let malformed = || PrepareError::GuestOutput { command: "ls-files" };
    let mut lines = output.splitn(3, |byte| *byte == b'\n');
    match lines.next() {
        Some(b"no-git") => return Ok(Looked::NoGit),
        Some(b"other") => return Ok(Looked::Other),
        Some(b"laid") => {}
        _ => return Err(malformed()),
    }
    let own = match lines.next() {
        Some(b"-") => None,
        Some(commit) => Some(oid(commit).map_err(|_| malformed())?),
        None => return Err(malformed()),
    };
    let lists = lines.next().unwrap_or_default();
    // Every record ends in a NUL and none is empty.
    let end = if lists.starts_with(b"\0") {
        Some(0)
    } else {
        lists.windows(2).position(|two| two == b"\0\0").map(|at| at + 1)
    };
    let (laid, edited) = lists.split_at(end.ok_or_else(malformed)?);
    let laid = parsed("ls-files", index(laid))?;
    let edited = parsed("diff-files", changes(edited.strip_prefix(b"\0").unwrap_or_default()))?;
    let laid = laid.into_iter().map(|entry| (entry.path, (entry.kind.mode().to_owned(), entry.oid)));
    let (submodules, mut laid): (BTreeMap<_, _>, BTreeMap<_, _>) =
        laid.partition(|(_, (mode, _))| mode == Kind::Submodule.mode());
    let left_alone = snapshot.still_here(repository, laid.keys())?;
    left_alone.iter().for_each(|path| drop(laid.remove(path)));
    let host = snapshot.contents(repository)?;
    let edited = edited.into_iter().map(|(_, path)| path).collect();
    let guest = Guest { laid, edited, ..Guest::default() };
    let mut steps = decide(&host, &guest);
    steps.conflicts = in_the_way(inside, repository, &guest, &steps)?;
    let besides = besides(inside, repository, snapshot)?;
    let within = snapshot.within.iter().map(|within| compare_within(inside, within, &submodules));
    let within: Result<Vec<_>, _> = within.collect();
    // One that the host has is not lost; an update that was killed may have left the guest at it.
    let own = match own {
        Some(own) if Some(own.as_str()) != head && repository.commit(&own)?.is_none() => Some(own),
        _ => None,
    };
    let head = head.map(str::to_owned);
    Ok(Looked::Laid(Box::new(Comparison {
        steps,
        head,
        own,
        left_alone,
        submodules,
        besides,
        within: within?,
    })))
}

/// Of what is to be laid or removed, that which the guest has otherwise than it was laid, and otherwise than the host has it.
fn in_the_way(
    inside: &mut Inside<'_>,
    repository: &Repository,
    guest: &Guest,
    steps: &Steps,
) -> Result<Vec<Vec<u8>>, PrepareError> {
    let new = steps.lay.iter().filter(|path| !guest.laid.contains_key(*path));
    let doubtful: BTreeSet<&[u8]> = steps.conflicts.iter().chain(new).map(Vec::as_slice).collect();
    let doubtful: Vec<&[u8]> = doubtful.into_iter().collect();
    let found = inside.look(&doubtful)?;
    let unreadable =
        |path: &[u8], source| PrepareError::Read { path: repository.root.join(path_of(path)), source };
    let here = Looking::into(&repository.root).map_err(|source| unreadable(b"", source))?;
    let mut conflicts = Vec::new();
    for (path, there) in doubtful.into_iter().zip(found) {
        let is_fine = match there {
            Found::Nothing => !guest.edited.contains(path) || steps.remove.iter().any(|gone| gone == path),
            Found::InTheWay => files::is_laid_around(&guest.laid, path),
            there => here.at(path).map_err(|source| unreadable(path, source))? == there,
        };
        if !is_fine {
            conflicts.push(path.to_vec());
        }
    }
    Ok(conflicts)
}

/// Of what git does not look after, what the host has, and what is to be done.
fn besides(
    inside: &mut Inside<'_>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(Contents, Steps), PrepareError> {
    if !snapshot.is_full {
        return Ok(Default::default());
    }
    let host = files::contents(&repository.root, snapshot.besides.iter().map(Vec::as_slice))?;
    let mut laid = files::listed(inside, &beside_index(&inside.place))?.unwrap_or_default();
    let looked_after = snapshot.files();
    laid.retain(|path, _| !looked_after.contains_key(path));
    let steps = files::compare(inside, &host, &laid)?;
    Ok((host, steps))
}

/// Where it is remembered which files were laid that no git looks after.
pub(super) fn beside_index(place: &str) -> String {
    format!("{place}/.git/banger-laid")
}

fn compare_within(
    inside: &mut Inside<'_>,
    within: &Within,
    laid: &BTreeMap<Vec<u8>, Content>,
) -> Result<Option<Comparison>, PrepareError> {
    let head = laid.get(&within.path).map(|(_, commit)| commit.as_str());
    inside.within(&within.path, |inside| match compare(inside, &within.repository, &within.snapshot, head)? {
        Looked::Laid(compared) => Ok(Some(*compared)),
        Looked::Other | Looked::NoGit => Ok(None),
    })
}

fn parsed<T>(command: &'static str, outcome: Result<T, MalformedOutput>) -> Result<T, PrepareError> {
    outcome.map_err(|_| PrepareError::GuestOutput { command })
}
