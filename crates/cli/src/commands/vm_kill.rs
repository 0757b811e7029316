use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::{Kill, KillSignal};
use clap::ValueEnum;

/// Kill VMs: end them now, and lose what they have not written to their disks.
///
/// `banger vm kill dev` is for a guest that does not react; `banger vm stop dev` has it write first. The VM stays and
/// `banger vm start dev` boots it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    /// What the VM's own process is sent: TERM lets it close its files first.
    #[arg(short, long, value_enum, ignore_case = true, default_value_t = Signal::Kill)]
    signal: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Signal {
    #[value(aliases = ["SIGTERM", "15"])]
    Term,
    #[value(aliases = ["SIGKILL", "9"])]
    Kill,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let signal = match self.signal {
            Signal::Term => KillSignal::Term,
            Signal::Kill => KillSignal::Kill,
        };
        ask_of_each(&self.vms, |vm| Kill { vm, signal })
    }
}
