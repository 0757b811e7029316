//! What `/proc` says about a process; the parsing is pure.

use banger_protocol::ids::VmId;
use banger_protocol::root_api::Role;

/// The variables a VM's process carries in its environment, by which it is found again.
pub(crate) const VM_VARIABLE: &str = "BANGER_VM";
pub(crate) const ROLE_VARIABLE: &str = "BANGER_ROLE";

/// What a role is called in a process's environment.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Vmm => "vmm",
        Role::VsockBackend => "vsock_backend",
    }
}

/// When a process started, in clock ticks since the host's boot; `None` when there is no such process or it
/// has ended already and only waits for its parent.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in a `/proc/<pid>/stat`, unless the state says that the process has ended.
///
/// proc_pid_stat(5): the second field is the program's name in parentheses and may hold anything, so counting
/// starts behind the last `)`; state is field 3, start time field 22.
fn parse_stat(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Which VM's process this is, going by its environment.
pub(crate) fn owner(pid: u32) -> Option<(VmId, Role)> {
    parse_environment(&std::fs::read(format!("/proc/{pid}/environ")).ok()?)
}

fn parse_environment(environment: &[u8]) -> Option<(VmId, Role)> {
    let value = |name: &str| {
        environment
            .split(|&b| b == 0)
            .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('='))
    };
    let vm = value(VM_VARIABLE)?.parse().ok()?;
    let word = value(ROLE_VARIABLE)?;
    let role = [Role::Vmm, Role::VsockBackend].into_iter().find(|role| role_word(*role) == word)?;
    Some((vm, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, state: &str) -> Vec<u8> {
        let middle = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18";
        format!("42 ({name}) {state} {middle} 123456 20 21\n").into_bytes()
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        for name in ["qemu", "a b", ") S 1 2 (", "\u{fffd}"] {
            assert_eq!(parse_stat(&stat(name, "S")), Some(123_456), "{name}");
        }
        assert!(start_time(std::process::id()).is_some());
    }

    #[test]
    fn a_process_that_has_ended_has_no_start_time() {
        assert_eq!(parse_stat(&stat("qemu", "Z")), None);
        assert_eq!(parse_stat(&stat("qemu", "X")), None);
        for broken in ["", "42", "42 (a", "42 (a)", "42 (a) S 1 2 3"] {
            assert_eq!(parse_stat(broken.as_bytes()), None);
        }
    }

    #[test]
    fn an_environment_names_the_vm_and_the_role() {
        let vm = VmId::random();
        for role in [Role::Vmm, Role::VsockBackend] {
            let text = format!("A=b\0BANGER_VM={vm}\0BANGER_ROLE={}\0", role_word(role));
            assert_eq!(parse_environment(text.as_bytes()), Some((vm.clone(), role)));
        }
        for other in ["", "BANGER_VM=0123456789ab", "BANGER_VM=nonsense\0BANGER_ROLE=vmm", "BANGER_VM"] {
            assert_eq!(parse_environment(other.as_bytes()), None, "{other}");
        }
    }
}
