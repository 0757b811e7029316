//! Firecracker's part: an API that is asked for a machine, then the machine, with its guest in the same process.
//!
//! It answers as version 1.16.1 does, down to the words where somebody may look for them, and knows the fewer calls
//! and fields that banger uses: anything else is refused as unknown, so that a change of what banger asks for is
//! noticed here first. `crates/firecracker/tests` asks both the same things.
//!
//! ```text
//! listening ──(InstanceStart)──▶ running ◀──(PATCH /vm)──▶ paused      any ──(guest's reset)──▶ ended
//! ```
//!
//! Sockets stay behind at the end, as they do after the real one. The tap is not opened, only looked for.

mod answer;
mod api;
mod body;
mod command_line;
mod http;
mod log;
mod machine;
mod metrics;

pub use command_line::{CommandLine, CommandLineError, Run};

use crate::guest::Order;
use api::Vmm;
use command_line::Verbosity;
use log::Log;
use metrics::Metrics;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub const VERSION: &str = "1.16.1";
/// As many as the real one serves at once.
const MOST_CONNECTIONS: usize = 10;

/// Why there is no API.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("Failed to open the API socket at: {}. Check that it is not already used.", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("Could not initialize logger: Failed to open target file")]
    Log(#[source] io::Error),
    #[error("Could not initialize metrics: Cannot initialize the metrics system due to bad user input: {0}")]
    Metrics(#[source] io::Error),
    #[error("there is no pair of sockets for the machine")]
    Machine(#[source] io::Error),
}

/// Serves the API until the machine is turned off.
///
/// # Errors
/// When there is no API.
pub fn serve(run: &Run) -> Result<(), ServeError> {
    let mut log = Log::open(run).map_err(ServeError::Log)?;
    log.tell(Verbosity::Everything, "main", &format!("Running fake Firecracker v{VERSION}"));
    let metrics = Metrics::open(run.metrics.as_deref()).map_err(ServeError::Metrics)?;

    let failed = |source| ServeError::Bind { path: run.socket.clone(), source };
    let listener = UnixListener::bind(&run.socket).map_err(failed)?;
    let (mut machine, guest_end) = UnixStream::pair().map_err(ServeError::Machine)?;
    let vmm = Arc::new(Mutex::new(Vmm::new(run.id.clone(), guest_end, log, metrics)));
    let serving = vmm.clone();
    std::thread::spawn(move || accept(&listener, &serving));
    until_reset(&mut machine);
    vmm.lock().unwrap_or_else(PoisonError::into_inner).tell_end();
    Ok(())
}

/// Returns when the guest has reset its machine, or was refused one. A guest that switches itself off only halts:
/// there is no power to cut. The threads end with the process.
fn until_reset(machine: &mut UnixStream) {
    let mut byte = [0];
    while let Ok(1) = machine.read(&mut byte) {
        let order = Order::from_byte(byte[0]);
        // The guest's console.
        let _ = io::stdout().write_all(order.map_or("", Order::last_words).as_bytes());
        if order != Some(Order::PowerOff) {
            return;
        }
    }
}

fn accept(listener: &UnixListener, vmm: &Arc<Mutex<Vmm>>) {
    let open = Arc::new(AtomicUsize::new(0));
    for mut stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            let _ = stream.write_all(http::TOO_MANY);
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (vmm, open) = (vmm.clone(), open.clone());
        std::thread::spawn(move || {
            // A connection that breaks has nobody left to tell.
            let _ = http::serve(stream, &vmm);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A file as the real one opens all of them: for reading, unless it is written to.
fn open(path: &str, read_only: bool) -> io::Result<File> {
    File::options().read(true).write(!read_only).open(path)
}
