//! Why something about a session did not happen, and what to do about it.

use crate::failure::Failure;
use crate::guest::SessionError;
use banger_protocol::guest_api::Exit;
use banger_protocol::guest_api::session::{MOST, MOST_CLIENTS, MOST_COMMAND, Refusal};
use banger_protocol::names::{SessionName, VmRef};

/// The failure for what a VM's agent said.
pub(super) fn told(error: SessionError, vm: &VmRef) -> Failure {
    match error {
        SessionError::Refused(refusal) => refused(refusal, vm),
        SessionError::TooOld => Failure::of(&error).with_hint(format!(
            "`banger vm restart {vm}` updates the agent; everything running in the VM ends"
        )),
        SessionError::Lost(_) => Failure::of(&error).with_hint(format!(
            "`banger vm show {vm}` shows whether the VM is still running; sessions end with their VM"
        )),
        SessionError::Ask(_)
        | SessionError::Failed(_)
        | SessionError::Protocol(_)
        | SessionError::Malformed(_)
        | SessionError::Output(_) => Failure::of(&error),
    }
}

fn refused(refusal: Refusal, vm: &VmRef) -> Failure {
    match refusal {
        Refusal::NoSuchSession { name, existing } => {
            Failure::message(format!("session `{name}` not found in VM `{vm}`")).with_hint(there_are(&existing, vm))
        }
        Refusal::Runs { name } => Failure::message(format!("session `{name}` is running")).with_hint(format!(
            "`banger vm session attach {vm} {name}` attaches to it, `banger vm session stop {vm} {name}` stops it"
        )),
        Refusal::HasEnded { name, exit } => {
            Failure::message(format!("session `{name}` is not running: it {}", how_it_ended(&exit)))
                .with_hint(format!("`banger vm session logs {vm} {name}` shows what it printed"))
        }
        Refusal::NoInput { name } => Failure::message(format!("the command of session `{name}` takes no input"))
            .with_hint("it was started without input, or its input was closed"),
        Refusal::WouldNotEnd { name } => {
            Failure::message(format!("session `{name}` did not exit after SIGKILL"))
                .with_hint(format!("the guest may be stuck; `banger vm restart {vm}` reboots it"))
        }
        Refusal::TooMany => Failure::message(format!("VM `{vm}` has {MOST} sessions, the maximum"))
            .with_hint(format!("`banger vm session rm --ended {vm}` deletes those that have ended")),
        Refusal::TooManyClients { name } => {
            Failure::message(format!("session `{name}` has {MOST_CLIENTS} clients, the maximum"))
        }
        Refusal::TooLong { bytes } => Failure::message(format!(
            "the command and its environment take {bytes} bytes; the maximum for a session is {MOST_COMMAND}"
        ))
        .with_hint("put it into a script, and copy that into the VM with `banger vm cp`"),
        Refusal::NotStarted { code, reason } => Failure { code: code.max(1), ..Failure::message(reason) },
    }
}

fn there_are(existing: &[SessionName], vm: &VmRef) -> String {
    if existing.is_empty() {
        return format!("it has none; `banger vm session start {vm} NAME -- CMD` starts one");
    }
    let names: Vec<String> = existing.iter().map(|name| format!("`{name}`")).collect();
    format!("it has {}", names.join(", "))
}

/// What became of a command, after its name.
pub(super) fn how_it_ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(signal) => format!("was killed by {}", signal_name(*signal)),
        Exit::NotStarted { reason, .. } => format!("never started: {reason}"),
    }
}

/// `SIGTERM`, or the number of one that has no name.
pub(super) fn signal_name(signal: u8) -> String {
    let name = signal_hook::low_level::signal_name(signal.into());
    name.map_or_else(|| format!("signal {signal}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(refusal: Refusal) -> Vec<String> {
        refused(refusal, &VmRef("dev".into())).report.unwrap().hints
    }

    #[test]
    fn who_asks_for_what_is_not_there_is_told_what_is() {
        let name: SessionName = "web".parse().unwrap();
        let missing = |existing: &[&str]| Refusal::NoSuchSession {
            name: name.clone(),
            existing: existing.iter().map(|name| name.parse().unwrap()).collect(),
        };
        assert_eq!(hints(missing(&["api", "make-1"])), ["it has `api`, `make-1`"]);
        assert_eq!(
            hints(missing(&[])),
            ["it has none; `banger vm session start dev NAME -- CMD` starts one"]
        );
    }

    #[test]
    fn a_command_that_was_not_started_has_a_shells_code() {
        let refusal = Refusal::NotStarted { code: 127, reason: "nope: not found".into() };
        let failure = refused(refusal, &VmRef("dev".into()));
        assert_eq!((failure.code, failure.report.unwrap().message.as_str()), (127, "nope: not found"));
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(how_it_ended(&Exit::Code(3)), "exited with 3");
        assert_eq!(how_it_ended(&Exit::Signal(15)), "was killed by SIGTERM");
        assert_eq!(how_it_ended(&Exit::Signal(40)), "was killed by signal 40");
    }
}
