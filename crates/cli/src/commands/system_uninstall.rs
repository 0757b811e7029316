use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::system::expect_root;
use crate::system::install::SetUpError;
use crate::system::uninstall::uninstall;
use banger_system::Install;

/// Stop what runs, and take the installed services away.
///
/// `sudo banger system uninstall --purge` removes images, kernels and VMs as well; without it they stay for the next
/// `banger system install`. Files of yours always stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove images, kernels and VMs as well.
    #[arg(long)]
    purge: bool,
    /// End VMs that cannot be stopped.
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
            true => "uninstalled, with everything it had".to_owned(),
            false => format!(
                "uninstalled; images, kernels and VMs stay in {}: `--purge` would have removed them",
                banger_system::STATE
            ),
        });
        Ok(0)
    }
}
