//! How a guest came to its end by itself; pure but for reading the files that tell.
//!
//! | the VMM's last event | the console | then it |
//! |---|---|---|
//! | the guest reset the machine, or panicked | ends with a panic | panicked (`panic=1` makes that a reset) |
//! | the guest reset the machine | does not | rebooted, and comes back |
//! | the guest switched it off | | switched itself off |
//! | a signal, or an error of its own | | was ended from outside |
//! | none, and the VMM is gone | | was killed |
//! | none, and only the vsock backend is gone | | lost its backend, without which it cannot be reached |
//!
//! A guest can write anything to its console, but whoever can reset the machine may as well say that it panicked.

use super::folder;
use banger_protocol::root_api::{CONSOLE_LOG, VMM_EVENTS};
use std::path::Path;

/// Bytes of the events' end that are searched for the last one.
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
    /// It was found ended by a daemon that was not there.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    SwitchedOff,
    Rebooted,
    /// With what the kernel had to say about it.
    Panicked(String),
    VmmSignalled,
    VmmFailed,
    VmmKilled,
    BackendEnded,
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
            Self::VmmSignalled => "its VMM was told to end by a signal".to_owned(),
            Self::VmmFailed => "its VMM ended with an error".to_owned(),
            Self::VmmKilled => "its VMM was killed".to_owned(),
            Self::BackendEnded => "its vsock backend ended".to_owned(),
            Self::Unseen => "it ended while no daemon was there".to_owned(),
        }
    }
}

/// Reads what the VM in `folder` has left. `console_start` is where this boot's console begins.
pub(super) fn of_guest(folder: &Path, console_start: u64, seen: Seen) -> End {
    // What is not there, or cannot be read, tells nothing.
    let events = folder::end_of(folder, VMM_EVENTS, EVENTS).unwrap_or_default();
    let console = folder::end_of_from(folder, CONSOLE_LOG, console_start, CONSOLE).unwrap_or_default();
    decide(shutdown_reason(&events).as_deref(), panic_line(&console), seen)
}

/// `shutdown` is a `ShutdownCause` of QEMU (qapi/run-state.json).
fn decide(shutdown: Option<&str>, panic: Option<String>, seen: Seen) -> End {
    match (shutdown, panic) {
        (Some("guest-reset" | "guest-panic"), Some(said)) => End::Panicked(said),
        (Some("guest-panic"), None) => End::Panicked("it did not say why".to_owned()),
        (Some("guest-reset"), None) => End::Rebooted,
        (Some("guest-shutdown"), _) => End::SwitchedOff,
        (Some("host-signal"), _) => End::VmmSignalled,
        (Some(_), _) => End::VmmFailed,
        (None, _) => match seen {
            Seen::Vmm => End::VmmKilled,
            Seen::Backend => End::BackendEnded,
            Seen::Nothing => End::Unseen,
        },
    }
}

/// The reason of the last `SHUTDOWN` among QEMU's events, one JSON object a line.
fn shutdown_reason(events: &[u8]) -> Option<String> {
    let reason = |line: &[u8]| {
        let event: serde_json::Value = serde_json::from_slice(line).ok()?;
        (event["event"] == "SHUTDOWN").then(|| event["data"]["reason"].as_str().unwrap_or("").to_owned())
    };
    events.split(|byte| *byte == b'\n').rev().find_map(reason)
}

/// What the kernel panicked about, fit to be printed.
fn panic_line(console: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(console);
    // The trace ends with the same words between dashes: the first mention is the plain one.
    let line = text.lines().find(|line| line.contains(PANIC))?;
    let said = line.split_once(PANIC).map_or("", |(_, rest)| rest).trim_start_matches(':').trim();
    Some(said.chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS_OF_A_REBOOT: &[u8] = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}}
{"return": {}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RTC_CHANGE", "data": {"offset": 1}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}
"#;

    #[test]
    fn every_end_is_told_from_the_others() {
        let said = || Some("why".to_owned());
        let table = [
            (Some("guest-reset"), None, Seen::Vmm, End::Rebooted),
            (Some("guest-reset"), None, Seen::Nothing, End::Rebooted),
            // The backend ends of the VMM's end and may be seen first.
            (Some("guest-reset"), None, Seen::Backend, End::Rebooted),
            (Some("guest-reset"), said(), Seen::Vmm, End::Panicked("why".to_owned())),
            (Some("guest-panic"), said(), Seen::Vmm, End::Panicked("why".to_owned())),
            (Some("guest-panic"), None, Seen::Vmm, End::Panicked("it did not say why".to_owned())),
            (Some("guest-shutdown"), None, Seen::Vmm, End::SwitchedOff),
            (Some("guest-shutdown"), said(), Seen::Vmm, End::SwitchedOff),
            (Some("host-signal"), None, Seen::Vmm, End::VmmSignalled),
            (Some("host-error"), None, Seen::Vmm, End::VmmFailed),
            (None, None, Seen::Vmm, End::VmmKilled),
            (None, said(), Seen::Vmm, End::VmmKilled),
            (None, None, Seen::Backend, End::BackendEnded),
            (None, None, Seen::Nothing, End::Unseen),
        ];
        for (shutdown, panic, seen, end) in table {
            assert_eq!(decide(shutdown, panic.clone(), seen), end, "{shutdown:?} {panic:?} {seen:?}");
        }
    }

    #[test]
    fn the_last_shutdown_among_the_events_counts() {
        assert_eq!(shutdown_reason(EVENTS_OF_A_REBOOT).as_deref(), Some("guest-reset"));
        let cut = &EVENTS_OF_A_REBOOT[7..];
        assert_eq!(shutdown_reason(cut).as_deref(), Some("guest-reset"), "the beginning was cut off");
        assert_eq!(shutdown_reason(&EVENTS_OF_A_REBOOT[..120]), None);
        assert_eq!(shutdown_reason(b"\xff\n{\"event\":\"SHUTDOWN\"}\n[]\nnull").as_deref(), Some(""));
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
        let start = former.len() as u64;
        assert_eq!(of_guest(place.path(), start, Seen::Vmm), End::Rebooted);
        assert_eq!(of_guest(place.path(), 0, Seen::Vmm), End::Panicked("then".to_owned()));
    }
}
