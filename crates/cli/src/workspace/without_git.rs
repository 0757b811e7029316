//! A folder that is no repository, or a guest that has no git: files go in, and nothing that git would know of them.
//!
//! What was laid is remembered beside the place, in `.banger-laid-NAME`: a list ([`files`]), and of a repository those files
//! that were not as in its commit. With them an export can tell the guest's work from what was here already.

use super::files::{self, Contents};
use super::host::every_file;
use super::inside::{Inside, succeeded};
use super::sent_tree::SentTree;
use super::{Options, PrepareError, Source};
use crate::guest::Input;
use crate::printer;
use banger_protocol::daemon_api::workspace::{Mode, Workspace};
use banger_protocol::guest_api::Exit;
use std::collections::BTreeSet;

/// Where it is remembered what was laid at a place, and below that the files that no commit has.
pub(crate) fn memory(place: &str) -> (String, String) {
    let (folder, name) = place.rsplit_once('/').unwrap_or_default();
    let memory = format!("{folder}/.banger-laid-{name}");
    (format!("{memory}/list"), format!("{memory}/over"))
}

/// What goes in, and what of it no commit has.
fn wanted(source: &Source) -> Result<(Contents, BTreeSet<Vec<u8>>), PrepareError> {
    let Some((repository, snapshot)) = &source.repository else {
        let paths = every_file(&source.root, true)?;
        return Ok((files::contents(&source.root, paths.iter().map(Vec::as_slice))?, BTreeSet::new()));
    };
    let paths = snapshot.every_path();
    let over = snapshot.laid_over().map(<[u8]>::to_vec).collect();
    Ok((files::contents(&repository.root, paths.iter().map(Vec::as_slice))?, over))
}

/// What is to be done there.
pub(super) fn compare(
    inside: &mut Inside<'_>,
    source: &Source,
) -> Result<super::decide::Steps, PrepareError> {
    let (host, _) = wanted(source)?;
    let laid = files::listed(inside, &memory(&inside.place).0)?.unwrap_or_default();
    files::compare(inside, &host, &laid)
}

pub(super) fn bring(
    inside: &mut Inside<'_>,
    source: &Source,
    options: &Options,
) -> Result<Workspace, PrepareError> {
    let (host, over) = wanted(source)?;
    let (list, copies) = memory(&inside.place);
    let known = files::listed(inside, &list)?;
    let steps = files::compare(inside, &host, known.as_ref().unwrap_or(&Contents::new()))?;
    match known {
        Some(_) if !options.force && !steps.conflicts.is_empty() => {
            return Err(PrepareError::Edited { paths: steps.conflicts });
        }
        Some(_) => printer::remark(format_args!(
            "{} files changed in {}",
            steps.lay.len() + steps.remove.len(),
            inside.place
        )),
        None => {
            printer::talk(match source.repository {
                Some(_) => "the guest has no git: copying the files without history".to_owned(),
                None => format!("{} is not in a git repository: copying all of it", source.root.display()),
            });
            if !options.force && (!steps.conflicts.is_empty() || holds_others(inside, &host)?) {
                return Err(PrepareError::Occupied { place: inside.place.clone() });
            }
        }
    }
    make_folders(inside, &[&inside.place.clone(), &copies])?;
    if known.is_none() && source.repository.is_none() {
        // With the folders in it that hold nothing.
        inside.lay_all(&source.root)?;
    } else {
        files::apply(inside, &source.root, &steps)?;
    }
    let mut workspace = blank(source, &inside.place, options);
    if let Some((repository, snapshot)) = &source.repository {
        remember_over(inside, source, &host, &over, &copies)?;
        workspace.head.clone_from(&snapshot.commit);
        workspace.base_tree = Some(SentTree::of(repository, snapshot)?.oid);
    }
    inside.write_file_at(&list, &files::list(&host, &over))?;
    Ok(workspace)
}

/// Keeps files beside the place as they were sent.
fn remember_over(
    inside: &mut Inside<'_>,
    source: &Source,
    host: &Contents,
    over: &BTreeSet<Vec<u8>>,
    copies: &str,
) -> Result<(), PrepareError> {
    let over: Contents =
        host.iter().filter(|(path, _)| over.contains(*path)).map(|(p, c)| (p.clone(), c.clone())).collect();
    let place = std::mem::replace(&mut inside.place, copies.to_owned());
    let kept = files::compare(inside, &over, &Contents::new())
        .and_then(|steps| files::apply(inside, &source.root, &steps));
    inside.place = place;
    kept
}

/// Whether something is in the place that is not the host's. An attempt that was killed leaves nothing such.
fn holds_others(inside: &mut Inside<'_>, host: &Contents) -> Result<bool, PrepareError> {
    let place = inside.place.clone();
    let listed = inside.run(&["ls", "-A", "--", &place], &[], Input::None)?;
    let first = |path: &Vec<u8>| path.split(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    // A name with a line's end in it is listed as two.
    let lines = |name: Vec<u8>| name.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let known: BTreeSet<Vec<u8>> = host.keys().map(first).flat_map(lines).collect();
    let names = listed.stdout.split(|byte| *byte == b'\n').filter(|name| !name.is_empty());
    Ok(listed.exit == Exit::Code(0) && names.into_iter().any(|name| !known.contains(name)))
}

/// A guest without `mkdir` has the folders made by the copy, as far as that goes.
fn make_folders(inside: &mut Inside<'_>, folders: &[&str]) -> Result<(), PrepareError> {
    let argv = [&["mkdir", "-p", "--"], folders].concat();
    let done = inside.run(&argv, &[], Input::None)?;
    if matches!(done.exit, Exit::NotStarted { .. }) {
        return Ok(());
    }
    succeeded(&["mkdir"], done).map(drop)
}

fn blank(source: &Source, place: &str, options: &Options) -> Workspace {
    Workspace {
        host_path: source.host_path(),
        guest_path: place.to_owned(),
        head: None,
        branch: None,
        base_tree: None,
        mode: if source.repository.is_some() { options.mode } else { Mode::FullCopy },
        chosen: options.chosen(),
        prepared: String::new(),
    }
}
