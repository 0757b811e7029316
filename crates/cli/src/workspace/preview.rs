//! What a prepare would do.

use super::compare::{Looked, compare};
use super::inside::Inside;
use super::options::{as_before, known_here};
use super::source::shown;
use super::{Interrupt, Options, PrepareError, Source, without_git};
use crate::daemon::Daemon;
use banger_protocol::daemon_api::workspace::Prepare;
use banger_protocol::names::VmRef;
use std::collections::BTreeMap;

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
    let Some(known) = known else { return source.list() };
    let vm = VmRef(turn.id.to_string());
    let mut inside = Inside::begin(daemon, vm, known.guest_path.clone(), interrupt)?;
    let looked = match &source.repository {
        Some((repository, snapshot)) => {
            match compare(&mut inside, repository, snapshot, known.head.as_deref())? {
                Looked::Laid(compared) => Some(compared.all_steps(snapshot)),
                Looked::Other => return source.list(),
                Looked::NoGit => None,
            }
        }
        None => None,
    };
    let steps = match looked {
        Some(steps) => steps,
        None => without_git::compare(&mut inside, source)?,
    };
    let mut lines: BTreeMap<&[u8], char> = steps.lay.iter().map(|path| (path.as_slice(), 'M')).collect();
    lines.extend(steps.remove.iter().map(|path| (path.as_slice(), 'D')));
    // In conflict, as git's own short status has it.
    lines.extend(steps.conflicts.iter().map(|path| (path.as_slice(), 'U')));
    Ok(lines.iter().map(|(path, letter)| format!("{letter} {}\n", shown(path))).collect())
}
