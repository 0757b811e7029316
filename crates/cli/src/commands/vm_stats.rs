use super::select::select;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::{List, State, Stats, VmStats, VmView};
use banger_protocol::names::VmRef;
use std::time::Duration;

/// Show the resource usage of VMs
///
/// `banger vm stats dev` shows one VM, `banger vm stats` all that are running or paused. CPU is the current usage as a
/// percentage of one CPU, TIME the CPU time used since the VM started, DISK the space its files use on this host.
/// `banger vm set` changes the limits.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes [default: all running or paused VMs]
    #[arg(value_name = "VM")]
    vms: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 8] = ["ID", "NAME", "STATE", "CPU", "TIME", "MEM", "DISK", "UPTIME"];

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let all = daemon.call(&List {})?;
        let up = |vm: &&VmView| matches!(vm.state, State::Running | State::Paused);
        let selected = match self.vms.as_slice() {
            [] => all.iter().filter(up).map(Ok).collect(),
            given => select(given, &all),
        };
        let mut code = 0;
        let mut found: Vec<VmStats> = Vec::new();
        for vm in selected {
            let asked = vm
                .map_err(Failure::from)
                .and_then(|vm| Ok(daemon.call(&Stats { vm: VmRef(vm.id.to_string()) })?));
            match asked {
                Ok(stats) => found.push(stats),
                Err(failure) => {
                    code = code.max(failure.code);
                    printer::failure(&failure);
                }
            }
        }
        if self.json {
            printer::json(&found)?;
        } else {
            printer::table(HEADS, found.iter().map(row))?;
        }
        Ok(code)
    }
}

fn row(stats: &VmStats) -> [String; 8] {
    let of_running = |show: fn(&banger_protocol::daemon_api::vm::RunningStats) -> String| {
        stats.running.as_ref().map_or_else(|| "-".to_owned(), show)
    };
    [
        stats.id.to_string(),
        stats.name.to_string(),
        stats.state.to_string(),
        of_running(|running| {
            running.cpu_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"))
        }),
        of_running(|running| printer::duration(Duration::from_millis(running.cpu_ms))),
        of_running(|running| printer::rounded(running.memory)),
        printer::rounded(stats.disk),
        of_running(|running| printer::duration(Duration::from_millis(running.uptime_ms))),
    ]
}
