use super::select::ask_of_each;
use crate::failure::Outcome;
use banger_protocol::daemon_api::vm::{Kill, KillSignal};
use clap::ValueEnum;

/// Kill VMs immediately, without flushing their disks
///
/// `banger vm kill dev` is for guests that do not respond; unwritten data is lost. `banger vm stop dev` flushes the disks
/// first. The VM is kept, and `banger vm start dev` boots it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    /// Signal to send to the VM process; TERM lets it close its files first
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
