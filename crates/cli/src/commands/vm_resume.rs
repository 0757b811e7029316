use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Resume;

/// Let paused VMs go on.
///
/// `banger vm resume dev` goes on where `banger vm pause dev` made it stand still.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        ask_of_each(&self.vms, |vm| Resume { vm })
    }
}
