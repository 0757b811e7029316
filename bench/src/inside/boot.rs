//! The same machine without banger: its VMM started by hand, and how long it is until a command has run in its guest.
//!
//! Runs in a network namespace of its own, in a folder with the guest's disks. Of the machine nothing is made up: its
//! command lines are those that banger gave its own, with files in the places of descriptors.

use anyhow::{Context as _, Result, bail, ensure};
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::{AGENT_PORT, Exec, Exit, NOTICE_PORT, Notice, Request};
use banger_protocol::root_api::{FIRECRACKER_LOG, VHOST_SOCKET, VMM_EVENTS, VMM_GREETING, VSOCK_SOCKET};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The folder's file that says what to start.
pub(crate) const MACHINE: &str = "machine.json";
/// The tap that the VMM is told to use.
pub(crate) const TAP: &str = "bench0";
/// What Firecracker is given of it.
const FIRECRACKER_MACHINE: &str = "firecracker.json";
/// Longer than an emulated guest takes on a busy machine, and shorter than whoever started us waits: killed by them, we
/// would leave the VMM behind.
const LIMIT: Duration = Duration::from_secs(240);

/// What has to be started for one guest; each command line begins with its program.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vmm {
    /// QEMU is reached through a backend of its own, started first.
    Qemu { backend: Vec<String>, command: Vec<String> },
    /// Firecracker reads its machine from a file and boots it at once.
    Firecracker { program: String, machine: Value },
}

/// Boots, asks, prints the seconds until the agent served, until the guest was usable and until the answer, and ends
/// everything.
pub(super) fn boot(folder: &Path) -> Result<()> {
    std::env::set_current_dir(folder).context("entering the folder")?;
    let vmm: Vmm = serde_json::from_reader(File::open(MACHINE)?).context(MACHINE)?;
    super::ip(&["tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr"])?;
    super::ip(&["link", "set", "dev", TAP, "up"])?;
    let notices =
        UnixListener::bind(format!("{VSOCK_SOCKET}_{NOTICE_PORT}")).context("listening for notices")?;
    let (backend, command) = match vmm {
        Vmm::Qemu { backend, command } => {
            for pipe in [VMM_GREETING, VMM_EVENTS] {
                File::create(pipe).context(pipe)?;
            }
            (Some(backend), command)
        }
        Vmm::Firecracker { program, machine } => {
            std::fs::write(FIRECRACKER_MACHINE, machine.to_string()).context(FIRECRACKER_MACHINE)?;
            let words = ["--no-api", "--config-file", FIRECRACKER_MACHINE, "--log-path", FIRECRACKER_LOG];
            (None, std::iter::once(program).chain(words.map(str::to_owned)).collect())
        }
    };
    let begun = Instant::now();
    let _backend = backend.map(|words| Started::new(&words).and_then(Started::listening)).transpose()?;
    let _vmm = Started::new(&command)?;
    let served = until_usable(&notices, begun + LIMIT)?.duration_since(begun);
    let usable = begun.elapsed();
    run_true(begun + LIMIT)?;
    let answered = begun.elapsed();
    println!("{} {} {}", served.as_secs_f64(), usable.as_secs_f64(), answered.as_secs_f64());
    Ok(())
}

/// A program that ends with us.
struct Started(Child);

impl Started {
    #[expect(clippy::disallowed_methods, reason = "starting it by hand is what is measured")]
    fn new(words: &[String]) -> Result<Self> {
        let (program, rest) = words.split_first().context("an empty command line")?;
        let log = File::options().append(true).create(true).open("vmm.log")?;
        let (out, err) = (log.try_clone()?, log);
        let child = Command::new(program).args(rest).stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        child.map(Self).with_context(|| format!("starting {program}"))
    }

    /// A connection to try it would be taken for the VMM's, so the kernel's table is asked (proc_pid_net(5)).
    fn listening(self) -> Result<Self> {
        let begun = Instant::now();
        let listens =
            |line: &str| line.ends_with(VHOST_SOCKET) && line.split_whitespace().nth(3) == Some("00010000");
        while !std::fs::read_to_string("/proc/self/net/unix")?.lines().any(listens) {
            ensure!(begun.elapsed() < LIMIT, "the backend does not listen");
            // Nothing to poll but time.
            let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 200_000 }));
        }
        Ok(self)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The moment at which the agent served.
fn until_usable(notices: &UnixListener, deadline: Instant) -> Result<Instant> {
    let mut served = None;
    loop {
        let limit = Timespec::try_from(left_until(deadline)).context("a time limit")?;
        let told = poll(&mut [PollFd::new(notices, PollFlags::IN)], Some(&limit))?;
        ensure!(told > 0, "the guest tells nothing; vmm.log ends with: {}", last_line("vmm.log"));
        let (stream, _) = notices.accept().context("waiting for a notice")?;
        stream.set_read_timeout(Some(left_until(deadline)))?;
        for line in BufReader::new(stream).lines() {
            match serde_json::from_str(&line.context("reading a notice")?).context("a notice")? {
                Notice::Usable { .. } => return Ok(served.unwrap_or_else(Instant::now)),
                Notice::Agent { .. } => served = Some(Instant::now()),
                Notice::BootFailed { step, reason } => bail!("the guest gave up at {step}: {reason}"),
            }
        }
    }
}

/// Never nothing, which a socket would take for no limit.
fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn last_line(log: &str) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or("nothing").escape_debug().to_string()
}

fn run_true(deadline: Instant) -> Result<()> {
    let mut agent = UnixStream::connect(VSOCK_SOCKET).context("connecting to the guest")?;
    agent.set_read_timeout(Some(left_until(deadline)))?;
    agent.write_all(format!("CONNECT {AGENT_PORT}\n").as_bytes())?;
    let mut byte = [0];
    while byte != *b"\n" {
        agent.read_exact(&mut byte).context("waiting for the agent")?;
    }
    let argv = vec!["true".to_owned()];
    let exec = Exec { argv, env: BTreeMap::new(), cwd: None, user: None, terminal: None, stdin: false };
    frame::write_json(&mut agent, Kind::Request, &Request::Exec(exec))?;
    loop {
        let frame = frame::read(&mut agent)?.context("the agent went away")?;
        if frame.kind == Kind::Exit {
            let exit: Exit = serde_json::from_slice(&frame.payload)?;
            ensure!(exit == Exit::Code(0), "`true` ended with {exit:?}");
            return Ok(());
        }
    }
}
