//! The vsock backend's part, and the guest's behind it, which Firecracker has in its own process.
//!
//! ```text
//! sockets made ──(the VMM connects)──▶ booting ──▶ agent ──▶ usable ──(the VMM is gone)──▶ ended
//! ```
//!
//! The guest is a few threads of this process: one that boots and tells the host ([`boot`]), one for each connection
//! of the host ([`connection`]). Commands are real ones, run by the agent's own code with what the helper left this
//! process ([`agent`]); they keep its environment, by which the helper finds and ends them with the machine, as a real one's end with it.

mod agent;
mod boot;
mod connection;
mod copy;
mod hold;
mod phase;

use crate::behaviour::{Behaviour, BehaviourError};
use crate::vmm_process::VmmProcess;
use banger_guest_agent::session::Sessions;
use banger_guest_agent::turn::Turns;
use banger_protocol::root_api::DiskRole;
use hold::Hold;
use phase::{Phase, Phases};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a guest does to its machine, as the byte it sends its VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    PowerOff = b'P',
    Reboot = b'R',
    /// Which says so on the console and then reboots.
    Panic = b'K',
}

impl Order {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::PowerOff, Self::Reboot, Self::Panic].into_iter().find(|order| *order as u8 == byte)
    }

    /// What the guest's kernel says on the console before.
    pub(crate) fn last_words(self) -> &'static str {
        match self {
            Self::PowerOff => "[    9.0] reboot: Power down\n",
            Self::Reboot => "[    9.0] reboot: Restarting system\n",
            Self::Panic => {
                "Kernel panic - not syncing: made to\n---[ end Kernel panic - not syncing: made to ]---\n"
            }
        }
    }
}

/// Why there is no guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error("the command line is not `--vm guest-cid=N,socket=PATH,uds-path=PATH`")]
    CommandLine,
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("the VMM did not connect")]
    Accept(#[source] io::Error),
    #[error("the guest does not know how to behave")]
    Behaviour(#[source] BehaviourError),
}

/// Where the VMM and the host connect to.
#[derive(Debug, PartialEq, Eq)]
pub struct Sockets {
    vhost: PathBuf,
    host: PathBuf,
}

impl Sockets {
    /// # Errors
    /// When it is not what `bangerd-root` writes.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, GuestError> {
        let words: Vec<String> = words.into_iter().collect();
        let [option, value] = &words[..] else { return Err(GuestError::CommandLine) };
        let key = |key: &str| value.split(',').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        match (option.as_str(), key("guest-cid"), key("socket"), key("uds-path")) {
            ("--vm", Some(_), Some(vhost), Some(host)) => Ok(Self { vhost: vhost.into(), host: host.into() }),
            _ => Err(GuestError::CommandLine),
        }
    }
}

/// The guest as its threads see it.
#[derive(Debug)]
pub(crate) struct Guest {
    behaviour: Behaviour,
    /// As the kernel makes one at each boot.
    boot_id: String,
    phases: Phases,
    hold: Arc<Hold>,
    sessions: Sessions,
    turns: Turns,
    /// The VMM's end of the machine.
    machine: UnixStream,
    vmm: VmmProcess,
    /// Whether somebody talked to it while its VMM stood still, after which a real one's vsock may be dead for good.
    is_deaf: AtomicBool,
}

impl Guest {
    /// Boots a guest that the host reaches by way of this listener of that name.
    pub(crate) fn start(
        host: UnixListener,
        name: PathBuf,
        behaviour: Behaviour,
        machine: UnixStream,
        vmm: VmmProcess,
    ) -> Arc<Self> {
        let guest = Arc::new(Self {
            behaviour,
            boot_id: new_boot_id(),
            phases: Phases::new(Phase::Booting),
            hold: Arc::default(),
            sessions: Sessions::default(),
            turns: Turns::default(),
            machine,
            vmm,
            is_deaf: AtomicBool::new(false),
        });
        let (serving, booting) = (guest.clone(), guest.clone());
        std::thread::spawn(move || {
            for stream in host.incoming().flatten() {
                let guest = serving.clone();
                std::thread::spawn(move || connection::serve(stream, &guest));
            }
        });
        std::thread::spawn(move || boot::boot(&booting, &name));
        guest
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn hold(&self, held: bool) {
        self.hold.set(held);
    }

    /// Whether connections are answered; from the first one on that comes while the VMM stands still they are not.
    fn hears(&self) -> bool {
        if self.vmm.stands_still() && !self.is_deaf.swap(true, Ordering::SeqCst) {
            let _ = writeln!(io::stdout(), "deaf: talked to while it stood still");
        }
        !self.is_deaf.load(Ordering::SeqCst)
    }

    fn order(&self, order: Order) {
        // A machine that has ended already obeys nobody.
        let _ = (&self.machine).write_all(&[order as u8]);
    }
}

/// Runs one guest, from the VMM's connection to its end.
///
/// # Errors
/// When it does not come to that.
pub fn run(sockets: &Sockets) -> Result<(), GuestError> {
    // The VMM is started when the second one is there, so the first comes first.
    let host = listen(&sockets.host)?;
    let vhost = listen(&sockets.vhost)?;
    let (mut machine, _) = vhost.accept().map_err(GuestError::Accept)?;
    let behaviour = Behaviour::read(Path::new(DiskRole::Work.file_name())).map_err(GuestError::Behaviour)?;
    let guest_end = machine.try_clone().map_err(GuestError::Accept)?;
    let vmm = VmmProcess::shown_by(&machine).map_err(GuestError::Accept)?;
    Guest::start(host, sockets.host.clone(), behaviour, guest_end, vmm);
    // Ends with the VMM; the threads end with the process.
    let _ = machine.read(&mut [0]);
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener, GuestError> {
    UnixListener::bind(path).map_err(|source| GuestError::Listen { path: path.to_owned(), source })
}

fn new_boot_id() -> String {
    let mut random = [0; 16];
    // Boots that have the same are noticed by the tests.
    let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    let digits = format!("{:032x}", u128::from_be_bytes(random));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Sockets, GuestError> {
        Sockets::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn the_sockets_are_found_in_the_helper_s_command_line() {
        let sockets = parse(&["--vm", "guest-cid=3,socket=vhost.sock,uds-path=v.sock"]).unwrap();
        assert_eq!(sockets, Sockets { vhost: "vhost.sock".into(), host: "v.sock".into() });
        for wrong in [&["--vm"][..], &["--vm", "socket=a,uds-path=b"], &["--uds-path", "a"], &[]] {
            assert!(matches!(parse(wrong), Err(GuestError::CommandLine)), "{wrong:?}");
        }
    }
}
