use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest;
use banger_protocol::daemon_api::vm::Connect;
use std::os::unix::net::UnixStream;

/// Connect standard input and output to a TCP port inside a VM; ssh's `ProxyCommand`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, with or without `.vm`.
    vm: String,
    /// The port on the guest's loopback.
    port: u16,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = super::vm_ssh::vm_of_host(&self.vm);
        let (_, agent) = Daemon::connect()?.call_receiving(&Connect { vm })?;
        guest::dial(UnixStream::from(agent), self.port).map_err(|error| Failure::of(&error))?;
        Ok(0)
    }
}
