use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::{Show, VmView};
use banger_protocol::daemon_api::workspace::Workspace;
use banger_protocol::names::VmRef;
use banger_protocol::root_api::Acceleration;
use std::fmt::Write;

/// Show the details of a VM
///
/// `banger vm show dev` shows its state and settings, why it stopped, and how long each stage of its last start took.
/// `banger vm logs dev` shows its console.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = Daemon::connect()?.call(&Show { vm: VmRef(self.vm) })?;
        if self.json {
            printer::json(&vm)?;
        } else {
            printer::foreign_data(&describe(&vm))?;
        }
        Ok(0)
    }
}

fn describe(vm: &VmView) -> String {
    let mut lines =
        vec![("name", vm.name.to_string()), ("id", vm.id.to_string()), ("state", vm.state.to_string())];
    lines.extend(vm.reason.as_ref().map(|reason| ("reason", reason.clone())));
    lines.extend([
        ("image", vm.image.to_string()),
        ("kernel", vm.kernel.to_string()),
        ("address", vm.address.to_string()),
        ("vcpu", vm.vcpu.to_string()),
        ("memory", vm.memory.to_string()),
        ("disk", vm.disk_size.to_string()),
        ("nat", if vm.nat { "on" } else { "off" }.to_owned()),
        ("created", format!("{} ({})", vm.created, printer::age(&vm.created))),
    ]);
    if vm.lease {
        lines.push(("kept", "until the command that created it ends".to_owned()));
    }
    if let Some(workspace) = &vm.workspace {
        let Workspace { host_path, guest_path, head, branch, prepared, .. } = workspace;
        let on = branch.as_ref().map_or_else(String::new, |branch| format!(" on {branch}"));
        let at =
            head.as_ref().map_or_else(String::new, |head| format!(" at {}", head.get(..12).unwrap_or(head)));
        lines
            .push(("workspace", format!("{host_path} in {guest_path}{on}{at} ({})", printer::age(prepared))));
    }
    if let Some(running) = &vm.running {
        let acceleration = match running.acceleration {
            Acceleration::Kvm => "KVM",
            Acceleration::Tcg => "emulated",
        };
        lines.push(("machine", format!("{}, {acceleration}, pid {}", running.vmm, running.pid)));
        lines.push(("boot id", running.boot_id.clone()));
        lines.push(("running", format!("since {} ({})", running.since, printer::age(&running.since))));
    }
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect();
    if !vm.stages.is_empty() {
        text.push_str("last start\n");
        for stage in &vm.stages {
            let _ = writeln!(text, "  {:<20}{:>8} ms", stage.name.replace('_', " "), stage.took_ms);
        }
    }
    text
}
