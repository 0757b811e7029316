//! How a guest came to its end by itself; pure but for reading the files that tell.
//!
//! | the VMM's last word | the console | then it |
//! |---|---|---|
//! | the guest reset the machine, or panicked | ends with a panic | panicked (`panic=1` makes that a reset) |
//! | the guest reset the machine | does not | rebooted, and comes back |
//! | the guest switched it off | | switched itself off |
//! | a signal, or an error of its own | | lost its VMM |
//! | none, and the VMM is gone | | was killed |
//! | none, and only the vsock backend is gone | | lost its backend, without which it cannot be reached |
//! | none, for its machine knows no power to cut | ends with the halt | switched itself off ([`super::halt`]) |
//!
//! QEMU's last word is the last `SHUTDOWN` among its events, Firecracker's is the last line of its log.
//!
//! A guest can write anything to its console, but whoever can reset the machine may as well say that it panicked.

use super::folder;
use super::state::Running;
use super::vmm::VmmName;
use banger_protocol::root_api::{CONSOLE_LOG, FIRECRACKER_LOG, VMM_EVENTS};
use std::path::Path;

/// Bytes of the end of a VMM's events or log that are searched for the last one.
const EVENTS: u64 = 16 << 10;
/// Bytes of the console's end that are searched for a panic. Its trace is a few KiB long.
const CONSOLE: u64 = 32 << 10;
/// Longest line of a guest that becomes part of a reason, in characters.
const LONGEST_LINE: usize = 200;

/// What the kernel says first when it gives up (`panic()` in kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing";

/// What was seen to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Vmm,
    /// The backend, while the VMM lived on.
    Backend,
    /// Neither, but the guest has halted for good.
    Guest,
    /// It was found ended by a daemon that was not there.
    Nothing,
}

/// A VMM's last word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Reset,
    Panicked,
    SwitchedOff,
    Signalled,
    Failed,
    /// It ended itself, in its own words.
    GaveUp(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    SwitchedOff,
    Rebooted,
    /// With what the kernel had to say about it.
    Panicked(String),
    Signalled,
    Failed,
    /// In the VMM's words.
    GaveUp(String),
    Killed,
    BackendGone,
    /// Nobody has told.
    Unseen,
}

impl End {
    /// For the state that follows.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::SwitchedOff => "the guest shut down".to_owned(),
            Self::Rebooted => "the guest rebooted".to_owned(),
            Self::Panicked(said) => format!("the guest's kernel panicked: {said}"),
            Self::Signalled => "its VMM was terminated by a signal".to_owned(),
            Self::Failed => "its VMM ended with an error".to_owned(),
            Self::GaveUp(said) => format!("its VMM gave up: {said}"),
            Self::Killed => "its VMM was killed".to_owned(),
            Self::BackendGone => "its vsock backend ended".to_owned(),
            Self::Unseen => "it ended while the daemon was not running".to_owned(),
        }
    }
}

/// Reads what the VM in `folder` has left.
pub(super) fn of_guest(folder: &Path, running: &Running, seen: Seen) -> End {
    // What is not there, or cannot be read, tells nothing.
    let end_of = |name| folder::end_of(folder, name, EVENTS).unwrap_or_default();
    let told = match running.vmm_name {
        VmmName::Qemu => last_event_of_qemu(&end_of(VMM_EVENTS)),
        VmmName::Firecracker => last_word_of_firecracker(&end_of(FIRECRACKER_LOG)),
    };
    let console = folder::end_of_from(folder, CONSOLE_LOG, running.console_start, CONSOLE);
    decide(told, panic_line(&console.unwrap_or_default()), seen)
}

fn decide(told: Option<Told>, panic: Option<String>, seen: Seen) -> End {
    match (told, panic) {
        (Some(Told::Reset | Told::Panicked), Some(said)) => End::Panicked(said),
        (Some(Told::Panicked), None) => End::Panicked("it did not say why".to_owned()),
        (Some(Told::Reset), None) => End::Rebooted,
        (Some(Told::SwitchedOff), _) => End::SwitchedOff,
        (Some(Told::Signalled), _) => End::Signalled,
        (Some(Told::Failed), _) => End::Failed,
        (Some(Told::GaveUp(said)), _) => End::GaveUp(said),
        (None, _) => match seen {
            Seen::Vmm => End::Killed,
            Seen::Backend => End::BackendGone,
            Seen::Guest => End::SwitchedOff,
            Seen::Nothing => End::Unseen,
        },
    }
}

/// The reason (`ShutdownCause`, qapi/run-state.json) of the last `SHUTDOWN` among QEMU's events, one JSON object a
/// line.
fn last_event_of_qemu(events: &[u8]) -> Option<Told> {
    let reason = |line: &[u8]| {
        let event: serde_json::Value = serde_json::from_slice(line).ok()?;
        (event["event"] == "SHUTDOWN").then(|| event["data"]["reason"].as_str().unwrap_or("").to_owned())
    };
    let reason = events.split(|byte| *byte == b'\n').rev().find_map(reason)?;
    Some(match reason.as_str() {
        "guest-reset" => Told::Reset,
        "guest-panic" => Told::Panicked,
        "guest-shutdown" => Told::SwitchedOff,
        "host-signal" => Told::Signalled,
        _ => Told::Failed,
    })
}

/// What Firecracker logs last, unless it was killed (`main` in its src/firecracker/src/main.rs; for a signal, or a system call
/// that its filter forbids, src/vmm/src/signal_handler.rs). Its machine ends in no other way than by a reset.
fn last_word_of_firecracker(log: &[u8]) -> Option<Told> {
    let text = String::from_utf8_lossy(log);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    if line.contains("Firecracker exiting successfully") {
        Some(Told::Reset)
    } else if line.contains("Firecracker exiting with error") {
        Some(Told::Failed)
    } else {
        let (_, cause) = line.split_once("Shutting down VM after intercepting ")?;
        let cause = cause.trim_end_matches('.');
        Some(if is_sent(cause) { Told::Signalled } else { Told::GaveUp(printable(cause)) })
    }
}

/// Whether a `signal N, code C` came from somebody, and not of what the process did (`si_code` in sigaction(2)).
fn is_sent(cause: &str) -> bool {
    let code = cause.rsplit_once(", code ").and_then(|(_, code)| code.parse::<i32>().ok());
    code.is_some_and(|code| code <= 0)
}

fn printable(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect()
}

/// What the kernel panicked about, fit to be printed.
fn panic_line(console: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(console);
    // The trace ends with the same words between dashes: the first mention is the plain one.
    let line = text.lines().find(|line| line.contains(PANIC))?;
    let said = line.split_once(PANIC).map_or("", |(_, rest)| rest).trim_start_matches(':').trim();
    Some(printable(said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::root_api::{Acceleration, ProcessIdentity};

    const EVENTS_OF_A_REBOOT: &[u8] = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}}
{"return": {}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RTC_CHANGE", "data": {"offset": 1}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}
"#;

    #[test]
    fn every_end_is_told_from_the_others() {
        let said = || Some("why".to_owned());
        let table = [
            (Some(Told::Reset), None, Seen::Vmm, End::Rebooted),
            (Some(Told::Reset), None, Seen::Nothing, End::Rebooted),
            // The backend ends of the VMM's end and may be seen first.
            (Some(Told::Reset), None, Seen::Backend, End::Rebooted),
            (Some(Told::Reset), said(), Seen::Vmm, End::Panicked("why".to_owned())),
            (Some(Told::Panicked), said(), Seen::Vmm, End::Panicked("why".to_owned())),
            (Some(Told::Panicked), None, Seen::Vmm, End::Panicked("it did not say why".to_owned())),
            (Some(Told::SwitchedOff), None, Seen::Vmm, End::SwitchedOff),
            (Some(Told::SwitchedOff), said(), Seen::Vmm, End::SwitchedOff),
            (Some(Told::Signalled), None, Seen::Vmm, End::Signalled),
            (Some(Told::Failed), None, Seen::Vmm, End::Failed),
            (Some(Told::GaveUp("x".to_owned())), said(), Seen::Vmm, End::GaveUp("x".to_owned())),
            (None, None, Seen::Vmm, End::Killed),
            (None, said(), Seen::Vmm, End::Killed),
            (None, None, Seen::Backend, End::BackendGone),
            (None, None, Seen::Guest, End::SwitchedOff),
            (None, None, Seen::Nothing, End::Unseen),
        ];
        for (told, panic, seen, end) in table {
            let case = format!("{told:?} {panic:?} {seen:?}");
            assert_eq!(decide(told, panic, seen), end, "{case}");
        }
    }

    #[test]
    fn the_last_shutdown_among_the_events_of_qemu_counts() {
        assert_eq!(last_event_of_qemu(EVENTS_OF_A_REBOOT), Some(Told::Reset));
        let cut = &EVENTS_OF_A_REBOOT[7..];
        assert_eq!(last_event_of_qemu(cut), Some(Told::Reset), "the beginning was cut off");
        assert_eq!(last_event_of_qemu(&EVENTS_OF_A_REBOOT[..120]), None);
        let strange = b"\xff\n{\"event\":\"SHUTDOWN\"}\n[]\nnull";
        assert_eq!(last_event_of_qemu(strange), Some(Told::Failed));
    }

    #[test]
    fn the_last_line_of_firecrackers_log_counts() {
        let begun = "2026-11-20T16:00:00 [0123:main] Running Firecracker v1.16.1\n";
        let reset = "2026-11-20T16:00:09 [0123:main] Firecracker exiting successfully. exit_code=0\n\n";
        let failed = "2026-11-20T16:00:09 [0123:main] Firecracker exiting with error. exit_code=148\n";
        let last = |lines: &[&str]| last_word_of_firecracker(lines.concat().as_bytes());
        assert_eq!(last(&[begun, reset]), Some(Told::Reset));
        assert_eq!(last(&[begun, failed]), Some(Told::Failed));
        let gave_up = |cause: &str| Some(Told::GaveUp(cause.to_owned()));
        for (cause, told) in [
            ("a bad syscall (202)", gave_up("a bad syscall (202)")),
            ("signal 7, code 2", gave_up("signal 7, code 2")),
            ("signal 1, code 0", Some(Told::Signalled)),
            ("signal 11, code -6", Some(Told::Signalled)),
        ] {
            let line =
                format!("2026-11-20T16:00:09 [0123:main] Shutting down VM after intercepting {cause}.\n");
            assert_eq!(last(&[begun, &line]), told, "{cause}");
        }
        assert_eq!(last(&[begun, reset, begun]), None, "a former boot's end is not this one's");
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn what_a_kernel_panicked_about_is_one_printable_line() {
        let console = b"[    9.1] sysrq: Trigger a crash\r\n[    9.2] Kernel panic - not syncing: sysrq \x1b[2J\xfftriggered crash\r\n\
                        [    9.3] Call Trace:\r\n[    9.4] ---[ end Kernel panic - not syncing: sysrq ]---\r\n";
        assert_eq!(panic_line(console).as_deref(), Some("sysrq [2J\u{fffd}triggered crash"));
        assert_eq!(panic_line(b"all is well"), None);
        let long = format!("Kernel panic - not syncing: {}", "x".repeat(10_000));
        assert_eq!(panic_line(long.as_bytes()).map(|line| line.len()), Some(LONGEST_LINE));
    }

    #[test]
    fn a_former_boots_panic_is_not_this_ones() {
        let place = tempfile::tempdir().unwrap();
        let former = "Kernel panic - not syncing: then\n";
        std::fs::write(place.path().join(CONSOLE_LOG), format!("{former}booted\n")).unwrap();
        std::fs::write(place.path().join(VMM_EVENTS), EVENTS_OF_A_REBOOT).unwrap();
        let running = |console_start| Running {
            vmm: ProcessIdentity { pid: 1, start_time: 2 },
            vsock_backend: None,
            vmm_name: VmmName::Qemu,
            acceleration: Acceleration::Tcg,
            boot_id: String::new(),
            since: String::new(),
            console_start,
        };
        let start = former.len() as u64;
        assert_eq!(of_guest(place.path(), &running(start), Seen::Vmm), End::Rebooted);
        assert_eq!(of_guest(place.path(), &running(0), Seen::Vmm), End::Panicked("then".to_owned()));
    }
}
