//! What the host is told unasked while the guest comes up.

use super::usable::Gate;
use crate::deadline;
use banger_protocol::guest_api::{HOST_CID, NOTICE_PORT, Notice};
use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Write};
use std::time::Duration;
use vsock::VsockStream;

const PATIENCE: Duration = Duration::from_secs(2);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Says that the agent is there, then that the guest is usable.
///
/// A host that does not listen misses both and can ask instead.
pub(super) fn tell_host(gate: &Gate) {
    console("the agent serves");
    let agent = Notice::Agent { boot_id: boot_id(), uptime_ms: uptime_ms() };
    let connection = deadline::retry_result(PATIENCE, || send(connect()?, &agent)).ok();
    gate.wait(|| false);
    console("the guest is usable");
    let usable = Notice::Usable { uptime_ms: uptime_ms() };
    let sent = connection.and_then(|connection| send(connection, &usable).ok());
    if sent.is_none() {
        // The host's end may have been restarted in between.
        let _ = connect().and_then(|connection| send(connection, &usable));
    }
}

/// A line for `vm logs`, which would be empty otherwise: the kernel is told to be quiet.
fn console(message: &str) {
    let since_power_on = Duration::from_millis(uptime_ms()).as_secs_f32();
    let line = format!("banger: {message} {since_power_on:.1} s after power-on\r\n");
    let console =
        rustix::fs::open("/dev/console", OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    // A guest without a console comes up all the same.
    let _ = console.map(|console| rustix::io::write(&console, line.as_bytes()));
}

/// Says that the guest cannot come up, if there is a way to.
pub(crate) fn send_boot_failed(step: &str, reason: &str) {
    let notice = Notice::BootFailed { step: step.to_owned(), reason: reason.to_owned() };
    if let Ok(connection) = connect().and_then(|connection| send(connection, &notice)) {
        // The guest's end comes right after: give the host until it closes to read the line.
        let _ = connection.set_read_timeout(Some(LAST_LOOK));
        let _ = connection.shutdown(std::net::Shutdown::Write);
        let _ = io::copy(&mut &connection, &mut io::sink());
    }
}

fn connect() -> io::Result<VsockStream> {
    VsockStream::connect_with_cid_port(HOST_CID, NOTICE_PORT)
}

fn send(mut connection: VsockStream, notice: &Notice) -> io::Result<VsockStream> {
    let mut line = serde_json::to_vec(notice)?;
    line.push(b'\n');
    connection.write_all(&line)?;
    Ok(connection)
}

/// Identifies this boot of the guest's kernel.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Milliseconds since the guest's kernel started, time spent paused included.
pub(super) fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}
