use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::Set;
use banger_protocol::names::VmRef;
use banger_protocol::size::ByteSize;

/// Change the CPUs, memory, disk size, or network access of a VM
///
///     banger vm set dev --memory 4G --disk-size 20G    while the VM is stopped
///     banger vm set dev --nat on                       at any time
///
/// Changes to a stopped VM take effect at its next start: `banger vm start dev`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Number of virtual CPUs
    #[arg(long, value_name = "COUNT", value_parser = super::vm_create::count, group = "change")]
    vcpu: Option<u32>,
    /// Memory size, such as 512M or 4G
    #[arg(long, value_name = "SIZE", group = "change")]
    memory: Option<ByteSize>,
    /// Size of the work disk, mounted on /root, such as 20G; it can only grow
    #[arg(long, value_name = "SIZE", group = "change")]
    disk_size: Option<ByteSize>,
    /// Internet access: on or off
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
