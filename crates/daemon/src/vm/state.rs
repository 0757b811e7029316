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
//! ```
//!
//! `Starting` and `Stopping` are intentions written down before anything is done, so that a daemon which finds
//! them at its own start knows that somebody was interrupted and releases what there is.

use super::vmm::VmmName;
use banger_protocol::daemon_api::vm::State as StateName;
use banger_protocol::root_api::{Acceleration, ProcessIdentity};
use serde::{Deserialize, Serialize};

/// A VM's state, with the facts that are true only in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum VmState {
    Created,
    Starting,
    Running(Running),
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
    Connect,
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
            Self::Stopping(_) => StateName::Stopping,
            Self::Stopped { .. } => StateName::Stopped,
            Self::Failed { .. } | Self::Damaged => StateName::Failed,
        }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Stopped { reason } | Self::Failed { reason } => Some(reason),
            Self::Damaged => Some("its record in the database is damaged"),
            Self::Created | Self::Starting | Self::Running(_) | Self::Stopping(_) => None,
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        match self {
            Self::Running(running) | Self::Stopping(running) => Some(running),
            Self::Created | Self::Starting | Self::Stopped { .. } | Self::Failed { .. } | Self::Damaged => {
                None
            }
        }
    }

    /// Whether `action` makes sense now. Deleting always does, so it is not asked.
    pub(crate) fn permits(&self, action: Action) -> Permission {
        use Permission::{AlreadySo, Go, Refused};
        match (self, action) {
            (Self::Created | Self::Stopped { .. } | Self::Failed { .. }, Action::Start) => Go,
            (Self::Running(_), Action::Start) => AlreadySo,
            (Self::Starting | Self::Stopping(_) | Self::Damaged, Action::Start) => Refused,
            (Self::Running(_) | Self::Starting | Self::Stopping(_) | Self::Damaged, Action::Stop) => Go,
            (Self::Created | Self::Stopped { .. } | Self::Failed { .. }, Action::Stop) => AlreadySo,
            (Self::Running(_) | Self::Starting, Action::Connect) => Go,
            (
                Self::Created
                | Self::Stopping(_)
                | Self::Stopped { .. }
                | Self::Failed { .. }
                | Self::Damaged,
                Action::Connect,
            ) => Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_state() -> Vec<VmState> {
        let running = Running {
            vmm: ProcessIdentity { pid: 1, start_time: 2 },
            vsock_backend: Some(ProcessIdentity { pid: 3, start_time: 4 }),
            vmm_name: VmmName::Qemu,
            acceleration: Acceleration::Tcg,
            boot_id: "b".to_owned(),
            since: "s".to_owned(),
        };
        vec![
            VmState::Created,
            VmState::Starting,
            VmState::Running(running.clone()),
            VmState::Stopping(running),
            VmState::Stopped { reason: "r".to_owned() },
            VmState::Failed { reason: "r".to_owned() },
            VmState::Damaged,
        ]
    }

    #[test]
    fn the_table_of_permissions_is_as_drawn() {
        let table: Vec<_> = every_state()
            .iter()
            .map(|state| [Action::Start, Action::Stop, Action::Connect].map(|action| state.permits(action)))
            .collect();
        use Permission::{AlreadySo, Go, Refused};
        assert_eq!(
            table,
            [
                [Go, AlreadySo, Refused],
                [Refused, Go, Go],
                [AlreadySo, Go, Go],
                [Refused, Go, Refused],
                [Go, AlreadySo, Refused],
                [Go, AlreadySo, Refused],
                [Refused, Go, Refused],
            ]
        );
    }

    #[test]
    fn every_state_survives_being_stored() {
        for state in every_state().into_iter().filter(|state| *state != VmState::Damaged) {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<VmState>(&text).unwrap(), state, "{text}");
        }
    }
}
