use super::vm_ssh::vm_of_host;
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::vm::Ssh;

/// Print the host key of a VM in known_hosts format, for ssh's `KnownHostsCommand`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Host as ssh looks it up: `dev.vm`, or `[dev.vm]:2222`
    host: String,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let access = Daemon::connect()?.call(&Ssh { vm: vm_of_host(&self.host) })?;
        printer::line(format_args!("{} {}", self.host, access.host_key))?;
        Ok(0)
    }
}
