use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Pause;

/// Pause VMs: freeze their vCPUs and keep their memory
///
/// `banger vm pause dev` freezes everything in the VM; `banger vm resume dev` continues it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        ask_of_each(&self.vms, |vm| Pause { vm })
    }
}
