use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::Pause;

/// Pause VMs: they stand still, keep their memory and use no processor.
///
/// `banger vm pause dev`, and later `banger vm resume dev`; commands that were running in it go on then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        ask_of_each(&self.vms, |vm| Pause { vm })
    }
}
