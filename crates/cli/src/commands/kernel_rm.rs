use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::kernel::Delete;
use banger_protocol::names::KernelName;

/// Delete kernels
///
/// `banger kernel rm NAME` refuses while an image or a VM needs the kernel, and names what does. `banger kernel list` lists
/// the kernels.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kernel names, as shown by `banger kernel list`
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
