//! The agent: answers the host, and nobody else, on one vsock port.
//!
//! Whether the peer is the host is known from its address before a byte is read. It has to be checked: with the
//! kernel's loopback transport any user of the guest can reach this port too.
//!
//! A thread per connection; a connection is one request. Nothing here ends the agent: what goes wrong is told to
//! the host on the connection it went wrong on.

mod connection;
mod copy;
mod dial;
mod notice;
mod ports;
mod usable;

pub(crate) use notice::send_boot_failed;
pub use usable::{MarkError, Usable, mark_usable};

use crate::deadline;
use crate::session::Sessions;
use crate::sys::{self, signals};
use crate::turn::Turns;
use banger_protocol::guest_api::{AGENT_PORT, HOST_CID};
use connection::Served;
use rustix::process::{Resource, Rlimit};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use usable::Gate;
use vsock::{VMADDR_CID_ANY, VsockListener, VsockStream};

/// The argument that makes this program mark the guest usable and end.
pub const MARK_USABLE: &str = "mark-usable";
/// The word that has a guest which came up without banger's initrd become one of banger's.
pub const SETTLE_IN: &str = "settle-in";

/// The argument that makes the agent report the guest as usable only once it was marked.
pub const UNTIL_MARKED: &str = "until-marked";

/// The folder in `/run` that is the agent's.
pub(crate) const FOLDER: &str = "/run/banger";

/// The agent's own group in the unified hierarchy, so that no service manager takes it for a part of a service. Sessions
/// have theirs in it.
const CGROUP: &str = "/sys/fs/cgroup/banger";

/// Where the output of sessions is kept, on the root disk rather than in memory.
const OUTPUTS: [&str; 2] = ["/var/lib/banger", FOLDER];

const MOST_CONNECTIONS: usize = 512;
const STACK: usize = 128 * 1024;

/// Why the agent does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the agent cannot listen on vsock port {AGENT_PORT}")]
    Listen(#[source] io::Error),
    #[error("the agent cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("the agent cannot accept connections")]
    Accept(#[source] io::Error),
}

/// Serves until the guest ends.
///
/// # Errors
/// When it cannot begin to.
pub fn run(usable: Usable) -> Result<(), ServeError> {
    sys::one_heap();
    survive();
    // The transport may still be finding its device.
    let listener = deadline::retry_result(Duration::from_secs(5), || {
        VsockListener::bind_with_cid_port(VMADDR_CID_ANY, AGENT_PORT)
    })
    .map_err(ServeError::Listen)?;
    let gate = Arc::new(Gate::new(usable));
    let for_notices = Arc::clone(&gate);
    start("notices", move || notice::tell_host(&for_notices)).map_err(ServeError::Thread)?;
    let sessions = Sessions::new(OUTPUTS.map(PathBuf::from).into(), Some(CGROUP.into()));
    let served = Arc::new(Served { gate, sessions, turns: Turns::default() });
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, peer)) if peer.cid() == HOST_CID => accept(stream, &served, &open),
            Ok(_) => {}
            Err(e) if passes(&e) => {}
            Err(e) => return Err(ServeError::Accept(e)),
        }
    }
}

fn accept(stream: VsockStream, served: &Arc<Served>, open: &Arc<AtomicUsize>) {
    if open.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
        connection::refuse(stream.into(), "too many connections at once");
        return;
    }
    let place = Place::take(open);
    let served = Arc::clone(served);
    // Without a thread the connection closes, which is all that can be said.
    let _ = start("connection", move || {
        connection::serve(stream.into(), &served);
        drop(place);
    });
}

/// One of the places for connections, given back on drop.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

/// Errors of `accept` that are about one connection or a moment, not about the listener.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::ECONNABORTED | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
    )
}

/// Most files open, as systemd has it; commands inherit it as the most they may ask for.
const MOST_FILES: u64 = 512 * 1024;

/// Makes this process one that nothing in the guest ends by accident.
fn survive() {
    signals::ignore_hangup();
    // Orphans of commands come here and not to the image's init, which knows nothing of them.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // Each of these may be impossible in an odd guest; the agent then serves with less protection.
    let files = Rlimit { current: Some(MOST_FILES), maximum: Some(MOST_FILES) };
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = std::fs::create_dir(CGROUP);
    let _ = std::fs::write(format!("{CGROUP}/cgroup.procs"), "0");
}
