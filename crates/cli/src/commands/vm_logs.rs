use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use banger_protocol::daemon_api::vm::Logs;
use banger_protocol::names::VmRef;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often a followed log is looked at.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Print a VM's console.
///
/// `banger vm logs dev` prints what its kernel and its init wrote at the last start; `-f` goes on until it ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// Go on as long as the VM may write more.
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let mut offset = 0;
        loop {
            let chunk = daemon.call(&Logs { vm: VmRef(self.vm.clone()), offset })?;
            printer::foreign_data(&chunk.text)?;
            if chunk.next_offset != offset {
                offset = chunk.next_offset;
            } else if self.follow && chunk.live {
                wait(&daemon)?;
            } else {
                return Ok(0);
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
