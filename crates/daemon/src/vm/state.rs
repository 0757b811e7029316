//! What state a VM is in, and what may be done in it. Pure.
//!
//! ```text
//!            create                 start                  agent answers
//! (nothing) ───────▶ Created ─────────────────▶ Starting ────────────────▶ Running
//!                                  ▲                │                        │  │
//!                                  │                │ a step fails      stop │  │ the VMM ends
//!                                  │                ▼                        ▼  │
//!                                  ├───────────── Failed                Stopping│
//!                                  │                                         │  │
//!                                  └──────────── Stopped ◀───────────────────┴──┘
//!
//!                     pause                     stop: resumed first
//!          Running ─────────▶ Paused           Paused ─────────▶ Stopping
//!                  ◀─────────        the VMM ends: Stopped
//!                    resume
//! ```
//!
//! `Starting` and `Stopping` are intentions written down before anything is done, so that a daemon which finds
//! them at its own start knows that somebody was interrupted and releases what there is.

use super::vmm::VmmName;
use banger_protocol::daemon_api::vm::State as StateName;
use banger_protocol::names::VmName;
use banger_protocol::root_api::{Acceleration, ProcessIdentity};
use serde::{Deserialize, Serialize};

/// A VM's state, with the facts that are true only in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum VmState {
    Created,
    Starting,
    Running(Running),
    /// Its processor stands still. Nothing opens a connection into it, whatever its VMM.
    Paused(Running),
    Stopping(Running),
    Stopped {
        reason: String,
    },
    Failed {
        reason: String,
    },
    /// What is recorded cannot be read. Never recorded itself; such a VM can be taken down and nothing else.
    #[serde(skip)]
    Damaged,
}

/// A guest that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    pub vmm: ProcessIdentity,
    /// QEMU's vsock backend; the guest cannot outlive it.
    pub vsock_backend: Option<ProcessIdentity>,
    #[serde(rename = "driver")]
    pub vmm_name: VmmName,
    pub acceleration: Acceleration,
    pub boot_id: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// Where in its log this boot's console begins, in bytes.
    #[serde(default)]
    pub console_start: u64,
}

impl Running {
    /// Every process without which this guest is dead.
    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessIdentity> {
        std::iter::once(self.vmm).chain(self.vsock_backend)
    }
}

/// What a user may ask of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Stop,
    Kill,
    Restart,
    Pause,
    Resume,
    /// Changing what it is made of.
    Set,
    /// Changing whether it reaches the world.
    SetNat,
    Connect,
}

impl Action {
    /// What a VM cannot be if this is refused.
    pub(crate) fn participle(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Kill => "killed",
            Self::Restart => "restarted",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Set | Self::SetNat => "changed",
            Self::Connect => "reached",
        }
    }
}

/// What follows from asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Go,
    /// It is so already; asking again is no error.
    AlreadySo,
    Refused,
}

impl VmState {
    pub(crate) fn name(&self) -> StateName {
        match self {
            Self::Created => StateName::Created,
            Self::Starting => StateName::Starting,
            Self::Running(_) => StateName::Running,
            Self::Paused(_) => StateName::Paused,
            Self::Stopping(_) => StateName::Stopping,
            Self::Stopped { .. } => StateName::Stopped,
            Self::Failed { .. } | Self::Damaged => StateName::Failed,
        }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Stopped { reason } | Self::Failed { reason } => Some(reason),
            Self::Damaged => Some("its record in the database is damaged"),
            Self::Created | Self::Starting | Self::Running(_) | Self::Paused(_) | Self::Stopping(_) => None,
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        match self {
            Self::Running(running) | Self::Paused(running) | Self::Stopping(running) => Some(running),
            Self::Created | Self::Starting | Self::Stopped { .. } | Self::Failed { .. } | Self::Damaged => {
                None
            }
        }
    }

    /// Whether nothing of it runs, and nobody is at work on it.
    pub(crate) fn is_down(&self) -> bool {
        match self {
            Self::Created | Self::Stopped { .. } | Self::Failed { .. } => true,
            Self::Starting | Self::Running(_) | Self::Paused(_) | Self::Stopping(_) | Self::Damaged => false,
        }
    }

    /// Whether it is up as exactly this guest, and nobody is taking it down.
    pub(crate) fn is_up_as(&self, guest: &Running) -> bool {
        matches!(self, Self::Running(running) | Self::Paused(running) if running == guest)
    }

    /// Whether `action` makes sense now. Deleting always does, so it is not asked.
    ///
    /// Asked under the VM's lock with no start of it under way, `Starting` and `Stopping` are what an attempt that
    /// could not even be written down has left: taking the VM down is what helps.
    pub(crate) fn permits(&self, action: Action) -> Permission {
        use Permission::{AlreadySo, Go, Refused};
        match (self, action) {
            (Self::Created | Self::Stopped { .. } | Self::Failed { .. }, action) => match action {
                Action::Start | Action::Restart | Action::Set | Action::SetNat => Go,
                Action::Stop | Action::Kill => AlreadySo,
                Action::Pause | Action::Resume | Action::Connect => Refused,
            },
            (Self::Running(_), action) => match action {
                Action::Start | Action::Resume => AlreadySo,
                Action::Stop
                | Action::Kill
                | Action::Restart
                | Action::Pause
                | Action::SetNat
                | Action::Connect => Go,
                Action::Set => Refused,
            },
            (Self::Paused(_), action) => match action {
                Action::Stop | Action::Kill | Action::Restart | Action::Resume | Action::SetNat => Go,
                Action::Pause => AlreadySo,
                Action::Start | Action::Set | Action::Connect => Refused,
            },
            (Self::Starting, action) => match action {
                Action::Stop | Action::Kill | Action::Restart | Action::Connect => Go,
                Action::Start | Action::Pause | Action::Resume | Action::Set | Action::SetNat => Refused,
            },
            (Self::Stopping(_), action) => match action {
                Action::Stop | Action::Kill | Action::Restart => Go,
                Action::Start
                | Action::Pause
                | Action::Resume
                | Action::Set
                | Action::SetNat
                | Action::Connect => Refused,
            },
            (Self::Damaged, action) => match action {
                Action::Stop | Action::Kill => Go,
                Action::Start
                | Action::Restart
                | Action::Pause
                | Action::Resume
                | Action::Set
                | Action::SetNat
                | Action::Connect => Refused,
            },
        }
    }

    /// The command that gets a VM called `name` out of a state in which `action` was refused.
    pub(crate) fn way_out(&self, action: Action, name: &VmName) -> String {
        match (self, action) {
            (Self::Damaged, _) => format!("delete it: `banger vm delete {name}`"),
            (Self::Paused(_), Action::Set) | (Self::Running(_), _) => {
                format!("stop it first: `banger vm stop {name}`")
            }
            (Self::Paused(_), _) => format!("resume it: `banger vm resume {name}`"),
            (Self::Starting, _) => format!("stop it: `banger vm stop {name}`"),
            (Self::Stopping(_), _) => {
                format!("`banger vm stop {name}` waits until it is down; then `banger vm start {name}`")
            }
            (Self::Created | Self::Stopped { .. } | Self::Failed { .. }, _) => {
                format!("start it: `banger vm start {name}`")
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::vm) fn every_state() -> Vec<VmState> {
        let running = Running {
            vmm: ProcessIdentity { pid: 1, start_time: 2 },
            vsock_backend: Some(ProcessIdentity { pid: 3, start_time: 4 }),
            vmm_name: VmmName::Qemu,
            acceleration: Acceleration::Tcg,
            boot_id: "b".to_owned(),
            since: "s".to_owned(),
            console_start: 7,
        };
        vec![
            VmState::Created,
            VmState::Starting,
            VmState::Running(running.clone()),
            VmState::Paused(running.clone()),
            VmState::Stopping(running),
            VmState::Stopped { reason: "r".to_owned() },
            VmState::Failed { reason: "r".to_owned() },
            VmState::Damaged,
        ]
    }

    #[test]
    fn the_table_of_permissions_is_as_drawn() {
        use Action::{Connect, Kill, Pause, Restart, Resume, Set, SetNat, Start, Stop};
        use Permission::{AlreadySo as So, Go, Refused as No};
        let actions = [Start, Stop, Kill, Restart, Pause, Resume, Set, SetNat, Connect];
        let table: Vec<_> =
            every_state().iter().map(|state| actions.map(|action| state.permits(action))).collect();
        assert_eq!(
            table,
            [
                [Go, So, So, Go, No, No, Go, Go, No],
                [No, Go, Go, Go, No, No, No, No, Go],
                [So, Go, Go, Go, Go, So, No, Go, Go],
                [No, Go, Go, Go, So, Go, No, Go, No],
                [No, Go, Go, Go, No, No, No, No, No],
                [Go, So, So, Go, No, No, Go, Go, No],
                [Go, So, So, Go, No, No, Go, Go, No],
                [No, Go, Go, No, No, No, No, No, No],
            ]
        );
    }

    #[test]
    fn whoever_is_refused_is_told_a_command() {
        let name = "dev".parse().unwrap();
        for state in every_state() {
            for action in [Action::Start, Action::Pause, Action::Resume, Action::Set, Action::Connect] {
                let way_out = state.way_out(action, &name);
                assert!(way_out.contains("`banger vm ") && way_out.contains(" dev`"), "{way_out}");
            }
        }
    }

    #[test]
    fn every_state_survives_being_stored() {
        for state in every_state().into_iter().filter(|state| *state != VmState::Damaged) {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<VmState>(&text).unwrap(), state, "{text}");
        }
    }
}
