use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Resume;

/// Resume paused VMs
///
/// `banger vm resume dev` continues a VM that `banger vm pause dev` paused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        ask_of_each(&self.vms, |vm| Resume { vm })
    }
}
