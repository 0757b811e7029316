//! Landlock: what may be done with the files that a VM's process reaches, in layers over their own modes.

use super::{Purpose, Reach};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// The newest version of landlock known here; an older kernel enforces what it has of it.
const NEWEST: ABI = ABI::V9;

/// The rules of one process, which does not exist yet.
#[derive(Debug)]
pub(crate) struct Rules(RulesetCreated);

/// The files a process reaches: those of its folder, the shared ones for reading, and its places. In the folder
/// it makes plain files and sockets and nothing else: no link or pipe that others could be caught with, no program.
pub(crate) fn of(reach: &Reach<'_>) -> Result<Rules, RulesetError> {
    let own = reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::ResolveUnix
        | AccessFs::RemoveFile;

    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(reach.folder, own))?;
    for file in reach.shared {
        ruleset = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
    }
    for (path, purpose) in reach.places() {
        let access = match purpose {
            Purpose::Programs => reading() | AccessFs::Execute,
            Purpose::Reading => reading(),
            Purpose::Device => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
        };
        ruleset = allow(ruleset, &path, access)?;
    }
    Ok(Rules(ruleset))
}

impl Rules {
    /// By which the process takes them on; `None` where the kernel has no landlock.
    pub(crate) fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        Ok(self.0.try_clone()?.into())
    }

    /// Lets the process, whose folder in `/proc` this is, read what that says.
    pub(crate) fn add_itself(self, own: BorrowedFd<'_>) -> Result<(), RulesetError> {
        self.0.add_rule(PathBeneath::new(own, reading())).map(drop)
    }
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Adds a rule for a path, unless this host has none such.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(place) = PathFd::new(path) else { return Ok(ruleset) };
    // The kernel refuses rights that only a directory has on anything else.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(place, access))
}
