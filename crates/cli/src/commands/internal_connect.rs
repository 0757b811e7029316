use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, DialError};
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::names::VmRef;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Connect standard input and output to a TCP port inside a VM; ssh's `ProxyCommand`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, with or without `.vm`.
    vm: String,
    /// The port on the guest's loopback.
    port: u16,
}

/// A guest that has been up for longer does not get new servers by itself.
const COMING_UP: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(200);

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = super::vm_ssh::vm_of_host(&self.vm);
        let guest = loop {
            match guest::dial(agent_of(&vm)?, self.port) {
                Ok(guest) => break guest,
                Err(DialError::Refused { .. }) if is_coming_up(&vm)? => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "asks again while the guest comes up, no longer"
                    )]
                    std::thread::sleep(AGAIN);
                }
                Err(error) => return Err(Failure::of(&error)),
            }
        };
        guest::pass_both_ways(guest).map_err(|error| Failure::of(&error))?;
        Ok(0)
    }
}

fn agent_of(vm: &VmRef) -> Result<UnixStream, Failure> {
    let (_, agent) = Daemon::connect()?.call_receiving(&Connect { vm: vm.clone() })?;
    Ok(UnixStream::from(agent))
}

/// Whether the guest's own start-up may still bring a server for the port.
fn is_coming_up(vm: &VmRef) -> Result<bool, Failure> {
    Ok(guest::uptime(agent_of(vm)?).is_some_and(|uptime| uptime < COMING_UP))
}
