use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::{List, VmView};

/// List VMs
///
/// `banger vm list` lists all of them; `banger vm show NAME` prints the details of one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print IDs only, one per line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 10] =
    ["ID", "NAME", "STATE", "IMAGE", "IP", "VCPU", "MEM", "DISK", "WORKSPACE", "CREATED"];

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vms = Daemon::connect()?.call(&List {})?;
        if self.json {
            printer::json(&vms)?;
        } else if self.quiet {
            printer::data(&vms.iter().map(|vm| format!("{}\n", vm.id)).collect::<String>())?;
        } else {
            printer::table(HEADS, vms.iter().map(row))?;
        }
        Ok(0)
    }
}

fn row(vm: &VmView) -> [String; 10] {
    [
        vm.id.to_string(),
        vm.name.to_string(),
        vm.state.to_string(),
        vm.image.to_string(),
        vm.address.to_string(),
        vm.vcpu.to_string(),
        vm.memory.to_string(),
        vm.disk_size.to_string(),
        vm.workspace.as_ref().map_or_else(|| "-".to_owned(), |workspace| workspace.host_path.clone()),
        printer::age(&vm.created),
    ]
}
