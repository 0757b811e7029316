use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::{Logs, Show};
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ConnectionError, ErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often a followed log is looked at.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Print the serial console of a VM
///
/// `banger vm logs dev` prints everything the kernel and init have written; it is kept after the VM stops. `-f` follows new
/// output across restarts until Ctrl-C or the VM is deleted. `banger vm show dev` shows why a VM stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Follow the output
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        // By its id from here on: another one may get its name.
        let vm = VmRef(daemon.call(&Show { vm: VmRef(self.vm) })?.id.to_string());
        let mut offset = 0;
        loop {
            match daemon.call(&Logs { vm: vm.clone(), offset }) {
                Ok(chunk) if chunk.next_offset != offset => {
                    printer::foreign_data(&chunk.text)?;
                    offset = chunk.next_offset;
                }
                Ok(_) if self.follow => wait(&daemon)?,
                Ok(_) => return Ok(0),
                Err(ConnectionError::Refused(refusal))
                    if self.follow && refusal.kind == ErrorKind::NotFound =>
                {
                    return Ok(0);
                }
                // The daemon was stopped or killed; guests write on without one.
                Err(ConnectionError::Closed | ConnectionError::Receive(_) | ConnectionError::Send(_))
                    if self.follow =>
                {
                    daemon = Daemon::connect()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Until it is time to look again, or the daemon goes.
fn wait(daemon: &Daemon) -> Result<(), Failure> {
    let mut gone = [PollFd::new(daemon.stream(), PollFlags::IN)];
    match poll(&mut gone, Some(&LOOK_EVERY)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(Failure::of(&std::io::Error::from(errno))),
    }
}
