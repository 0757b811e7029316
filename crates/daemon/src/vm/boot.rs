//! Waiting for a guest to come up.
//!
//! The guest tells: its agent connects to the host and says when it serves and when the guest is usable. A guest
//! that tells nothing is given up by the work it has done and not by the clock alone, so that a slow or busy host
//! is not taken for a broken guest: the limit is processor time of its VMM.

use banger_protocol::guest_api::{NOTICE_PORT, Notice};
use banger_protocol::root_api::{
    Acceleration, CONSOLE_LOG, FIRECRACKER_LOG, ProcessIdentity, VMM_LOG, VSOCK_SOCKET,
};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Longest notice that is read, in bytes: it comes from the guest.
const MAX_NOTICE: u64 = 4096;
/// However little a guest has worked, it is given up after this long.
const WALL_LIMIT: Duration = Duration::from_secs(15 * 60);
/// File systems date files by a clock that goes in ticks and so may be this much behind (1/100 s at most).
const CLOCK_TICK: Duration = Duration::from_millis(10);
/// Bytes of a log's end that are searched for its last line.
const LAST_WORDS: u64 = 4096;
const TICK: Duration = Duration::from_millis(500);

/// Processor time after which a guest that has not come up will not.
fn work_limit(acceleration: Acceleration) -> Duration {
    match acceleration {
        // In a virtual machine, which may be emulated itself, KVM can be as slow as emulation.
        Acceleration::Kvm if !is_virtual_machine() => Duration::from_secs(60),
        Acceleration::Kvm | Acceleration::Tcg => Duration::from_secs(300),
    }
}

/// Whether this host is a guest of another: its processor has the flag `hypervisor`.
fn is_virtual_machine() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| line.split_ascii_whitespace().any(|flag| flag == "hypervisor"))
}

/// Why a guest did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("the VMM ended while the guest was booting")]
    Ended,
    #[error("the guest gave up at {step}: {reason}")]
    GaveUp { step: String, reason: String },
    #[error("the guest did nothing useful for {worked_s} s of processor time, waiting for {stage}")]
    TimedOut { stage: &'static str, worked_s: u64 },
    #[error("the notices of the guest could not be received")]
    Receive(#[source] io::Error),
}

/// Where a guest's notices arrive. Made before the VMM is started.
#[derive(Debug)]
pub(super) struct Notices {
    listener: UnixListener,
    connection: Option<BufReader<tokio::io::Take<UnixStream>>>,
    /// The beginning of a notice: waiting for the rest may be interrupted.
    line: Vec<u8>,
}

impl Notices {
    /// Listens in the VM's folder, replacing what a former start left there.
    pub(super) fn listen(folder: &Path) -> io::Result<Self> {
        let folder =
            rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // By way of the descriptor: the folder's own path may be longer than a socket address can hold.
        let path = format!("/proc/self/fd/{}/{VSOCK_SOCKET}_{NOTICE_PORT}", folder.as_raw_fd());
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // The VMM may run as another user; nobody but it and us can enter the folder.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, connection: None, line: Vec::new() })
    }

    /// The next notice. A connection that ends or talks nonsense is replaced by the next one.
    async fn next(&mut self) -> io::Result<Notice> {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => {
                    let (stream, _) = self.listener.accept().await?;
                    self.connection.insert(BufReader::new(stream.take(MAX_NOTICE)))
                }
            };
            let outcome = connection.read_until(b'\n', &mut self.line).await;
            let line = std::mem::take(&mut self.line);
            match outcome {
                Ok(_) if !line.is_empty() => match serde_json::from_slice(&line) {
                    Ok(notice) => return Ok(notice),
                    Err(error) => {
                        tracing::warn!(%error, "a guest sent an invalid notice");
                        self.connection = None;
                    }
                },
                Ok(_) | Err(_) => self.connection = None,
            }
        }
    }

    /// Waits for one notice of the guest that `processes` run.
    pub(super) async fn wait(
        &mut self,
        stage: &'static str,
        processes: &[ProcessIdentity],
        acceleration: Acceleration,
    ) -> Result<Notice, BootError> {
        let started = Instant::now();
        let limit = work_limit(acceleration);
        loop {
            tokio::select! {
                // In this order: a guest that gives up says so and ends at once.
                biased;
                notice = self.next() => return match notice.map_err(BootError::Receive)? {
                    Notice::BootFailed { step, reason } => Err(BootError::GaveUp { step, reason }),
                    notice => Ok(notice),
                },
                () = first_end(processes) => return Err(BootError::Ended),
                () = tokio::time::sleep(TICK) => {
                    let worked = processes.iter().map(|process| processor_time(process.pid)).sum::<Duration>();
                    if worked > limit || started.elapsed() > WALL_LIMIT {
                        return Err(BootError::TimedOut { stage, worked_s: worked.as_secs() });
                    }
                }
            }
        }
    }
}

/// Ends with the first of these processes.
pub(super) async fn first_end(processes: &[ProcessIdentity]) {
    let mut waiting = tokio::task::JoinSet::new();
    for process in processes {
        waiting.spawn(end_of(*process));
    }
    let _ = waiting.join_next().await;
}

/// A process that cannot be watched, for want of a descriptor, has not ended: it is tried again.
async fn end_of(process: ProcessIdentity) {
    while let Err(error) = crate::process::ended(process).await {
        tracing::error!(pid = process.pid, %error, "a process cannot be watched");
        tokio::time::sleep(TICK).await;
    }
}

/// The last thing that each log says which was written to since this moment: former boots wrote to them too.
pub(super) fn last_words(folder: &Path, since: SystemTime) -> Vec<String> {
    let last = |log: &str| {
        let written = super::folder::open(folder, log).and_then(|file| file.metadata()?.modified()).ok()?;
        if written < since.checked_sub(CLOCK_TICK)? {
            return None;
        }
        let bytes = super::folder::end_of(folder, log, LAST_WORDS).ok()?;
        let tail = String::from_utf8_lossy(&bytes).into_owned();
        let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
        // A guest wrote this: nothing that a terminal would obey may pass.
        let printable: String = line.chars().filter(|c| !c.is_control()).collect();
        Some(format!("{log} ends with: {}", printable.trim()))
    };
    [VMM_LOG, FIRECRACKER_LOG, CONSOLE_LOG].into_iter().filter_map(last).collect()
}

/// User and system time of a process so far; zero when it cannot be read.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 and 15 (proc_pid_stat(5)), counted behind the name; clock ticks are 1/100 s on Linux (USER_HZ).
    let fields = stat.rfind(')').map_or("", |at| &stat[at + 1..]);
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_former_boot_are_not_this_ones() {
        let place = tempfile::tempdir().unwrap();
        let write = |log, text| std::fs::write(place.path().join(log), text).unwrap();
        write(VMM_LOG, "terminating on signal 15\n");
        let hour = Duration::from_secs(3600);
        assert_eq!(last_words(place.path(), SystemTime::now() + hour), [""; 0]);
        write(FIRECRACKER_LOG, "begun\nno\x1b[2J such file\n\n");
        let said = last_words(place.path(), SystemTime::now() - hour);
        assert_eq!(
            said,
            ["vmm.log ends with: terminating on signal 15", "firecracker.log ends with: no[2J such file"]
        );
    }
}
