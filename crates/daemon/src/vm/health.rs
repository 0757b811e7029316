//! How a running guest is, by its own account.

use super::{connect, view};
use crate::Services;
use crate::client::agent::{self, AgentError};
use banger_protocol::daemon_api::vm::VmHealth;
use banger_protocol::guest_api::Health;
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// What `systemctl is-system-running` may say (systemctl(1)); anything else a guest says is not passed on.
const SYSTEMD_STATES: [&str; 8] =
    ["initializing", "starting", "running", "degraded", "maintenance", "stopping", "offline", "unknown"];

/// Asks a guest that is up how it is. That it does not answer is an answer, too.
pub(crate) async fn health(services: &Services, reference: &VmRef) -> Result<VmHealth, RpcError> {
    let vm = view::find(services, reference)?;
    let expected = vm.state.running().map(|running| running.boot_id.clone());
    let (agent, systemd, problem) = match connect::ask(services, &vm.id, look).await {
        Ok((agent, systemd)) => {
            let problem = judge(&agent, expected.as_deref());
            (Some(agent), systemd, problem.map(str::to_owned))
        }
        Err(error) if error.kind == ErrorKind::Unavailable => (None, None, Some(error.causes.join(": "))),
        Err(error) => return Err(error),
    };
    Ok(VmHealth { healthy: problem.is_none(), problem, agent, systemd, id: vm.id, name: vm.name })
}

fn look(folder: &Path) -> Result<(Health, Option<String>), AgentError> {
    let health = agent::health(folder, LIMIT)?;
    // A guest without systemd, or one whose systemd is stuck, has an agent all the same.
    let printed = agent::output(folder, &["systemctl", "is-system-running"], LIMIT).ok().flatten();
    Ok((health, printed.as_deref().and_then(systemd_state)))
}

/// What is wrong with a guest whose agent answers. Pure.
fn judge(agent: &Health, expected: Option<&str>) -> Option<&'static str> {
    match expected {
        Some(boot) if boot != agent.boot_id => Some("it has rebooted since the last start on record"),
        _ if !agent.usable => Some("it has not finished booting"),
        _ => None,
    }
}

fn systemd_state(printed: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(printed).ok()?.trim();
    SYSTEMD_STATES.contains(&word).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_healthy_when_it_is_usable_in_the_boot_that_is_known() {
        let agent = |boot_id: &str, usable| Health {
            version: String::new(),
            boot_id: boot_id.to_owned(),
            usable,
            uptime_ms: 1,
        };
        assert_eq!(judge(&agent("a", true), Some("a")), None);
        assert_eq!(judge(&agent("a", true), None), None, "one that is starting has none on record");
        assert!(judge(&agent("b", true), Some("a")).is_some());
        assert!(judge(&agent("a", false), Some("a")).is_some());
    }

    #[test]
    fn only_words_of_systemds_own_are_passed_on() {
        assert_eq!(systemd_state(b"degraded\n").as_deref(), Some("degraded"));
        for other in [&b""[..], b"fine\n", b"\x1b[2Jrunning", b"running\nrunning", b"\xff"] {
            assert_eq!(systemd_state(other), None);
        }
    }
}
