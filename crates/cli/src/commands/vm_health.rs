use crate::daemon::Daemon;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::{Health, VmHealth};
use banger_protocol::names::VmRef;
use std::time::Duration;

/// Check whether a VM is ready to run commands
///
/// `banger vm health dev` succeeds when the guest agent answers and commands can be run; scripts can use it to wait for a
/// VM. When it fails, look at the console: `banger vm logs dev`.
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
        let health = Daemon::connect()?.call(&Health { vm: VmRef(self.vm) })?;
        if self.json {
            printer::json(&health)?;
        } else {
            printer::foreign_data(&describe(&health))?;
        }
        Ok(if health.healthy { 0 } else { FAILED })
    }
}

fn describe(health: &VmHealth) -> String {
    let mut lines = vec![("name", health.name.to_string())];
    lines.push((
        "health",
        match &health.problem {
            None => "good".to_owned(),
            Some(problem) => problem.clone(),
        },
    ));
    match &health.agent {
        None => lines.push(("agent", "does not answer".to_owned())),
        Some(agent) => lines.extend([
            ("agent", format!("answers, version {}", agent.version)),
            ("usable", if agent.usable { "yes" } else { "not yet" }.to_owned()),
            ("boot id", agent.boot_id.clone()),
            ("uptime", printer::duration(Duration::from_millis(agent.uptime_ms))),
        ]),
    }
    lines.extend(health.systemd.as_ref().map(|state| ("systemd", state.clone())));
    lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}
