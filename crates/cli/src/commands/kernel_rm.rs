use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::kernel::Delete;
use banger_protocol::names::KernelName;

/// Remove kernels that neither an image nor a VM needs.
///
/// `banger kernel rm NAME`; what still needs it is named. `banger kernel list` shows what there is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, as `banger kernel list` shows them.
    #[arg(required = true, value_name = "KERNEL")]
    kernels: Vec<KernelName>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let mut code = 0;
        for kernel in self.kernels {
            match daemon.call(&Delete { kernel }) {
                Ok(deleted) => printer::line(deleted.kernel)?,
                Err(error) => {
                    let failure = error.into();
                    printer::failure(&failure);
                    code = code.max(failure.code);
                }
            }
        }
        Ok(code)
    }
}
