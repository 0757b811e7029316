//! What a prepare would do.

use super::inside::Inside;
use super::options::{as_before, known_here};
use super::place::is_laid;
use super::source::shown;
use super::{Interrupt, Options, PrepareError, Source, update};
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
