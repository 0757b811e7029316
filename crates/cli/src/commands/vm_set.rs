use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::Set;
use banger_protocol::names::VmRef;
use banger_protocol::size::ByteSize;

/// Change how many processors, how much memory or how large a disk a VM has, and whether it reaches the world.
///
/// `banger vm set dev --memory 4G --disk-size 20G` while it is stopped; it has that from its next start on:
/// `banger vm start dev`.
/// `banger vm set dev --nat on` at any time.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// How many processors.
    #[arg(long, value_name = "COUNT", value_parser = super::vm_create::count, group = "change")]
    vcpu: Option<u32>,
    /// How much memory, as 512M or 4G.
    #[arg(long, value_name = "SIZE", group = "change")]
    memory: Option<ByteSize>,
    /// How large its disk is, as 20G, which holds /root; it can only grow.
    #[arg(long, value_name = "SIZE", group = "change")]
    disk_size: Option<ByteSize>,
    /// Whether it reaches the world: on or off.
    #[arg(long, group = "change")]
    nat: Option<Switch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let set = Set {
            vm: VmRef(self.vm),
            vcpu: self.vcpu,
            memory: self.memory,
            disk_size: self.disk_size,
            nat: self.nat.map(|nat| nat == Switch::On),
        };
        let vm = Daemon::connect()?.call(&set)?;
        printer::line(vm.name)?;
        Ok(0)
    }
}
