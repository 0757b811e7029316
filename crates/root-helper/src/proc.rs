//! What `/proc` says about a process; the parsing is pure.

use banger_protocol::ids::VmId;
use banger_protocol::root_api::Role;
use rustix::process::Signal;
use std::fs::File;
use std::io::Read as _;

/// The variables a VM's process carries in its environment, by which it is found again.
pub(crate) const VM_VARIABLE: &str = "BANGER_VM";
pub(crate) const ROLE_VARIABLE: &str = "BANGER_ROLE";

/// How much of an environment is looked at. Ours is two short variables, to which a program that is a script may
/// add some before it becomes the real one.
const ENVIRONMENT_SEEN: usize = 16 * 1024;

/// `PF_KTHREAD` of the kernel's `sched.h`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What a role is called in a process's environment.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Vmm => "vmm",
        Role::VsockBackend => "vsock_backend",
    }
}

/// When a process started, in clock ticks since the host's boot; `None` when there is no such process, when it
/// has ended already and only waits for its parent, and for the kernel's own threads.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in a `/proc/<pid>/stat`, unless nothing runs there.
///
/// proc_pid_stat(5): the second field is the program's name in parentheses and may hold anything, so counting
/// starts behind the last `)`; state is field 3, flags field 9, start time field 22.
fn parse_stat(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x") && flags & KERNEL_THREAD == 0).then_some(start_time)
}

/// Whether a process neither handles a signal nor ignores it.
pub(crate) fn leaves_to_the_kernel(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_status(&status).is_some_and(|cared_for| cared_for >> (signal.as_raw() - 1) & 1 == 0)
}

/// The signals that are caught or ignored, a bit for each, in a `/proc/<pid>/status` (proc_pid_status(5)).
fn parse_status(status: &str) -> Option<u64> {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    Some(mask("SigIgn:")? | mask("SigCgt:")?)
}

/// A process's environment, `None` for one that is gone or that we have no rights over.
///
/// Waits for an exec to get far enough that its rights are settled (`mm_access` takes `exec_update_lock`), but
/// not for its end: a process in the middle of one has an empty environment.
/// One read, because between two of them an exec would cut the old one short.
pub(crate) fn environment(pid: u32) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ENVIRONMENT_SEEN];
    let length =
        File::open(format!("/proc/{pid}/environ")).and_then(|mut file| file.read(&mut bytes)).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// The VM and the role that an environment names.
pub(crate) fn parse_environment(environment: &[u8]) -> Option<(VmId, Role)> {
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
    fn a_process_that_has_ended_and_a_kernel_thread_have_no_start_time() {
        let kernel_thread = String::from_utf8(stat("kthreadd", "S")).unwrap().replace(" 6 ", " 2129984 ");
        assert_eq!(parse_stat(kernel_thread.as_bytes()), None);
        assert_eq!(parse_stat(&stat("qemu", "Z")), None);
        assert_eq!(parse_stat(&stat("qemu", "X")), None);
        for broken in ["", "42", "42 (a", "42 (a)", "42 (a) S 1 2 3"] {
            assert_eq!(parse_stat(broken.as_bytes()), None);
        }
    }

    #[test]
    fn signals_that_a_process_cares_for_are_those_it_catches_or_ignores() {
        let status = "Name:\tSigCgt:\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";
        assert_eq!(parse_status(status), Some(0x5002));
        assert_eq!(parse_status("SigIgn:\t0\n"), None);
        assert!(!leaves_to_the_kernel(u32::MAX, Signal::TERM), "nothing is known of nobody");
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
