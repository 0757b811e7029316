use super::select::select;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::{List, State, Stats, VmStats, VmView};
use banger_protocol::names::VmRef;
use banger_protocol::size::ByteSize;
use std::time::Duration;

/// Show the resource usage of VMs
///
/// `banger vm stats dev` shows one VM, `banger vm stats` all that are running or paused. CPU is the current usage as a
/// percentage of one CPU, TIME the CPU time used since the VM started, DISK the space its files use on this host.
/// READ/WRITTEN and IN/OUT are disk and network throughput per second, averaged over the last minute; only Firecracker
/// reports them. `banger vm set` changes the limits.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM names, IDs, or unique ID prefixes [default: all running or paused VMs]
    #[arg(value_name = "VM")]
    vms: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 10] =
    ["ID", "NAME", "STATE", "CPU", "TIME", "MEM", "DISK", "READ/WRITTEN", "IN/OUT", "UPTIME"];

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

fn row(stats: &VmStats) -> [String; 10] {
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
        of_running(|running| pair(running.io.map(|io| (io.disk_read, io.disk_written)))),
        of_running(|running| pair(running.io.map(|io| (io.net_received, io.net_sent)))),
        of_running(|running| printer::duration(Duration::from_millis(running.uptime_ms))),
    ]
}

fn pair(rates: Option<(ByteSize, ByteSize)>) -> String {
    let shown = |(into, out)| format!("{}/{}", printer::rounded(into), printer::rounded(out));
    rates.map_or_else(|| "-".to_owned(), shown)
}
