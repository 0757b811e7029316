use crate::daemon::Daemon;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::system::{Mode, Status};
use std::time::Duration;

/// Show the status of the daemon
///
/// `banger daemon status` does not start the daemon. The exit code is 1 when it is not running. `banger doctor` checks
/// everything else.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON; `null` when the daemon is not running
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let status = match Daemon::connect_if_running()? {
            Some(mut daemon) => Some(daemon.call(&Status {})?),
            None => None,
        };
        if self.json {
            printer::json(&status)?;
        }
        let Some(status) = status else {
            if !self.json {
                printer::line("not running; the next command that needs the daemon starts it")?;
            }
            return Ok(FAILED);
        };
        if !self.json {
            let helper =
                status.helper_pid.map_or_else(|| "not needed yet".to_owned(), |pid| format!("pid {pid}"));
            let mode = match status.mode {
                Mode::Local => "local",
                Mode::System => "system",
            };
            let lines = [
                (
                    "running",
                    format!("pid {}, for {:.0?}", status.pid, Duration::from_millis(status.uptime_ms)),
                ),
                ("version", status.version),
                ("mode", mode.to_owned()),
                ("VMs", format!("{}, {} running", status.vms, status.vms_running)),
                ("helper", helper),
                ("socket", status.socket),
                ("state", status.state_folder),
            ];
            printer::data(&lines.map(|(name, value)| format!("{name:<9}{value}\n")).concat())?;
        }
        Ok(0)
    }
}
