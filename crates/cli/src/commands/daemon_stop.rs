use crate::daemon::{ConnectError, Daemon, stop_other_version};
use crate::failure::{Failure, Outcome};
use crate::{places, printer};
use banger_protocol::daemon_api::system::Shutdown;

/// Stop the daemon; VMs keep running
///
/// `banger daemon stop` succeeds when no daemon is running, too. The next command that needs the daemon starts it, and the
/// daemon then takes over the running VMs. To stop a VM, use `banger vm stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if places::find().map_err(ConnectError::Places)?.is_installed {
            return Err(Failure::message("the daemon was not stopped: it is a systemd service")
                .with_hint(format!("`{}` restarts it; VMs keep running", banger_system::RESTART)));
        }
        match Daemon::connect_if_running() {
            Ok(None) => printer::talk("the daemon is not running"),
            Ok(Some(mut daemon)) => {
                let left = daemon.call(&Shutdown {})?.vms_running;
                daemon.wait_for_end().map_err(|error| Failure::of(&error))?;
                printer::talk(match left {
                    0 => "stopped".to_owned(),
                    1 => "stopped; 1 VM keeps running".to_owned(),
                    many => format!("stopped; {many} VMs keep running"),
                });
            }
            // Its requests are not understood, so it is asked the way every process is.
            Err(ConnectError::OtherVersion { .. }) => {
                stop_other_version()?;
                printer::talk("stopped a daemon of another version; its VMs keep running");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(0)
    }
}
