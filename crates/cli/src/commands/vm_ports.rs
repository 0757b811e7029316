use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::{PortView, Ports};
use banger_protocol::names::VmRef;

/// List listening TCP ports in a VM
///
/// `banger vm ports dev` lists each port with its process, and with a link if it answers HTTP. To forward one to this host:
/// `banger vm ssh dev -L 8080:localhost:80`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 3] = ["PORT", "PROCESS", "LINK"];

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let ports = Daemon::connect()?.call(&Ports { vm: VmRef(self.vm) })?;
        if self.json {
            printer::json(&ports)?;
        } else {
            printer::table(HEADS, ports.iter().map(row))?;
        }
        Ok(0)
    }
}

fn row(view: &PortView) -> [String; 3] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [view.endpoint.clone(), or_dash(&view.process), or_dash(&view.url)]
}
