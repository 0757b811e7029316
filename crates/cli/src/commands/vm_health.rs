use crate::daemon::Daemon;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::{Health, VmHealth};
use banger_protocol::names::VmRef;
use std::time::Duration;

/// Ask a running VM how it is.
///
/// `banger vm health dev` succeeds when its agent answers and commands can be run in it, so a script can wait for it.
/// When it does not, `banger vm logs dev` shows its console.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// As JSON, for programs.
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
