//! `.gitmodules` says from where submodules are fetched and how they are updated, which is what a guest would change
//! to have something else run on the host. It may take submodules away, and nothing else.

use super::oid::Oid;
use super::quarantine::Quarantine;
use super::run::RunError;
use super::verify::{Refused, VerifyError};
use crate::guest::said;
use std::collections::BTreeSet;

/// Most bytes of it.
const MOST: u64 = 4 << 20;

/// Whether all that it says now was said before, by any of those it came from.
pub(super) fn judge(quarantine: &Quarantine, from: &[Oid], to: &Oid) -> Result<(), VerifyError> {
    let mut before = BTreeSet::new();
    for from in from {
        // What the user has of that is the user's; git reads what it can.
        before.extend(settings(quarantine, from).unwrap_or_default());
    }
    let now = settings(quarantine, to).map_err(|error| Refused::Submodules(said(&error.to_string())))?;
    match now.difference(&before).next() {
        Some(new) => {
            Err(Refused::Submodules(said(&String::from_utf8_lossy(new).replace('\n', " = "))).into())
        }
        None => Ok(()),
    }
}

fn settings(quarantine: &Quarantine, blob: &Oid) -> Result<BTreeSet<Vec<u8>>, RunError> {
    let mut settings = BTreeSet::new();
    if blob.as_str().bytes().all(|digit| digit == b'0') {
        return Ok(settings);
    }
    let mut all = Vec::new();
    let config =
        quarantine.git().args(["config", "--no-includes", "--null", "--list", "--blob", blob.as_str()]);
    config.pieces(MOST, |piece| all.extend_from_slice(piece))?;
    settings.extend(all.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec));
    Ok(settings)
}
