//! Which commit and which branch the guest is on.

use super::inside::Inside;
use super::{Options, PrepareError};
use crate::git::inspect::Repository;
use crate::guest::Input;
use crate::printer;
use banger_protocol::daemon_api::workspace::Workspace;

/// Where a guest's own commits stay findable that had to make room, each under its name.
const REPLACED: &str = "refs/banger/replaced";

/// The branch that the guest is on; `None` for none.
pub(super) fn branch<'a>(repository: &'a Repository, options: &'a Options) -> Option<&'a str> {
    options.branch.as_deref().or(repository.branch.as_deref())
}

/// The branch that the guest is on afterwards: the one that was asked for, else the host's.
pub(super) fn branch_after(
    repository: &Repository,
    options: &Options,
    known: &Workspace,
) -> Result<Option<String>, PrepareError> {
    if options.branch.is_some() {
        return Ok(options.branch.clone());
    }
    // One that the host had and has no longer stays the guest's.
    if let Some(own) = &known.branch
        && repository.commit(&format!("refs/heads/{own}"))?.is_none()
    {
        return Ok(Some(own.clone()));
    }
    Ok(repository.branch.clone())
}

/// Lets HEAD be the branch, or nothing but the commit. `left` is the commit it stood at when something was laid last; what
/// else the guest has there stays findable.
pub(super) fn point_head(
    inside: &mut Inside<'_>,
    branch: Option<&str>,
    commit: &str,
    left: Option<&str>,
) -> Result<(), PrepareError> {
    if branch.is_none() || left.is_none() {
        keep(inside, "HEAD", &[Some(commit), left])?;
    }
    if let Some(branch) = branch {
        let branch = format!("refs/heads/{branch}");
        keep(inside, &branch, &[Some(commit), left])?;
        inside.git(&["update-ref", &branch, commit], Input::None)?;
        inside.git(&["symbolic-ref", "HEAD", &branch], Input::None)?;
    } else {
        inside.git(&["update-ref", "--no-deref", "HEAD", commit], Input::None)?;
    }
    Ok(())
}

/// Keeps a commit of the guest's own below [`REPLACED`], unless it is one of these.
pub(super) fn keep(inside: &mut Inside<'_>, name: &str, known: &[Option<&str>]) -> Result<(), PrepareError> {
    let found = inside.find(&["rev-parse", "--quiet", "--verify", &format!("{name}^{{commit}}")])?;
    let Some(own) = found.filter(|own| !known.contains(&Some(own))) else { return Ok(()) };
    for commit in known.iter().flatten() {
        if inside.find(&["merge-base", "--is-ancestor", &own, commit])?.is_some() {
            return Ok(());
        }
    }
    let kept = format!("{REPLACED}/{own}");
    inside.git(&["update-ref", &kept, &own], Input::None)?;
    printer::talk(format_args!("commits made in the guest were replaced; they are kept there as {kept}"));
    Ok(())
}

pub(super) fn point_unborn_head(inside: &mut Inside<'_>, branch: &str) -> Result<(), PrepareError> {
    inside.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], Input::None).map(drop)
}
