use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::system::expect_root;
use crate::system::install::SetUpError;
use crate::system::uninstall::uninstall;
use banger_system::Install;

/// Stop all VMs and remove the installed services
///
/// Images, kernels, and VMs are kept for a later `banger system install`; `sudo banger system uninstall --purge` deletes
/// them. Your own files are never removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete images, kernels, and VMs
    #[arg(long)]
    purge: bool,
    /// Kill VMs that cannot be stopped
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        expect_root("uninstall")?;
        let Some(install) = Install::read().map_err(SetUpError::Install)? else {
            printer::talk("banger is not installed");
            return Ok(0);
        };
        uninstall(&install, self.purge, self.force).map_err(Failure::from)?;
        printer::talk(match self.purge {
            true => "uninstalled; images, kernels, and VMs were deleted".to_owned(),
            false => format!(
                "uninstalled; images, kernels, and VMs are kept in {}; `--purge` deletes them",
                banger_system::STATE
            ),
        });
        Ok(0)
    }
}
