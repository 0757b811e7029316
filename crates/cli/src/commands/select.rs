//! Which VMs a command line means, and acting on all of them.
//!
//! A command that takes several VMs resolves all of them from one look at what exists, so that what it acts on
//! cannot change between the first and the last. A name goes before an id, an id before a prefix of one.

use crate::daemon::{Daemon, follow};
use crate::failure::Failure;
use crate::file_sync::{hand_over, sync_files_again};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::probably_meant;
use banger_protocol::daemon_api::operation::OperationStarted;
use banger_protocol::daemon_api::vm::{List, VmView};
use banger_protocol::names::VmRef;
use banger_protocol::wire::Method;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SelectError {
    #[error("VM `{given}` not found")]
    None { given: String, meant: Option<String> },
    #[error("`{given}` matches several VM IDs: {}", ids.join(", "))]
    Several { given: String, ids: Vec<String> },
}

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        let hint = match &error {
            SelectError::None { meant: Some(name), .. } => {
                format!("did you mean `{name}`? `banger vm list` lists all VMs")
            }
            SelectError::None { meant: None, .. } => "`banger vm list` lists all VMs".to_owned(),
            SelectError::Several { .. } => "use a longer prefix, or the VM name".to_owned(),
        };
        Self::of(&error).with_hint(hint)
    }
}

/// Each VM that is meant, once, in the order of its first mention; what means none or several is an error in its
/// place.
pub(super) fn select<'a>(given: &[String], vms: &'a [VmView]) -> Vec<Result<&'a VmView, SelectError>> {
    let mut selected: Vec<Result<&VmView, SelectError>> = Vec::new();
    for found in given.iter().map(|given| find(given, vms)) {
        let again = match &found {
            Ok(vm) => selected.iter().flatten().any(|earlier| earlier.id == vm.id),
            Err(error) => {
                selected.iter().any(|earlier| earlier.as_ref().is_err_and(|earlier| earlier == error))
            }
        };
        if !again {
            selected.push(found);
        }
    }
    selected
}

fn find<'a>(given: &str, vms: &'a [VmView]) -> Result<&'a VmView, SelectError> {
    let exact = vms.iter().find(|vm| vm.name.as_str() == given);
    if let Some(vm) = exact.or_else(|| vms.iter().find(|vm| vm.id.as_str() == given)) {
        return Ok(vm);
    }
    let begins: Vec<_> =
        vms.iter().filter(|vm| !given.is_empty() && vm.id.as_str().starts_with(given)).collect();
    match begins.as_slice() {
        [vm] => Ok(vm),
        [] => {
            let meant = probably_meant(given, vms.iter().map(|vm| vm.name.as_str())).map(str::to_owned);
            Err(SelectError::None { given: given.to_owned(), meant })
        }
        several => {
            let ids = several.iter().map(|vm| vm.id.to_string()).collect();
            Err(SelectError::Several { given: given.to_owned(), ids })
        }
    }
}

/// Acts on every VM that is meant, all at the same time, and prints the name of each that it was done to, in
/// order. What fails is reported and does not hold up the others.
pub(super) fn act_on_each(
    given: &[String],
    act: impl Fn(&mut Daemon, VmRef) -> Result<(), Failure> + Sync,
) -> Result<u8, Failure> {
    let vms = Daemon::connect()?.call(&List {})?;
    act_on(select(given, &vms), act)
}

/// Asks for the same of every VM that is meant, and waits for it in silence.
pub(super) fn ask_of_each<M: Method<Reply = OperationStarted>>(
    given: &[String],
    request: impl Fn(VmRef) -> M + Sync,
) -> Result<u8, Failure> {
    act_on_each(given, |daemon, vm| {
        let started = daemon.call(&request(vm))?;
        follow::<VmView>(daemon, started, None, &Progress::Silent)?;
        Ok(())
    })
}

/// Asks for a boot of every VM that is meant. Of a single one it is shown how far it is, and Ctrl-C calls it off.
pub(super) fn boot_each<M: Method<Reply = OperationStarted>>(
    given: &[String],
    doing: &str,
    request: impl Fn(VmRef) -> M + Sync,
) -> Result<u8, Failure> {
    let later = hand_over(&mut Daemon::connect()?)?;
    // Several at once would overwrite each other's line, and each other's Ctrl-C.
    let [alone] = given else {
        return act_on_each(given, |daemon, vm| {
            let started = daemon.call(&request(vm.clone()))?;
            follow::<VmView>(daemon, started, None, &Progress::Silent)?;
            sync_files_again(daemon, &vm, &later);
            Ok(())
        });
    };
    let signals = Signals::take().map_err(|error| Failure::of(&error))?;
    let subject = format!("{doing} {alone}");
    let progress = Progress::live_or_silent(&subject);
    act_on_each(given, |daemon, vm| {
        let held = signals.hold();
        let started = daemon.call(&request(vm.clone()))?;
        follow::<VmView>(daemon, started, Some(&signals), &progress)?;
        drop(held);
        sync_files_again(daemon, &vm, &later);
        Ok(())
    })
}

/// As [`act_on_each`], with VMs that were selected before.
pub(super) fn act_on(
    selected: Vec<Result<&VmView, SelectError>>,
    act: impl Fn(&mut Daemon, VmRef) -> Result<(), Failure> + Sync,
) -> Result<u8, Failure> {
    let mut code = 0;
    std::thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = selected
            .into_iter()
            .map(|vm| {
                vm.map(|vm| (vm, scope.spawn(move || act(&mut Daemon::connect()?, VmRef(vm.id.to_string())))))
            })
            .collect();
        for vm in running {
            let done = vm.map_err(Failure::from).and_then(|(vm, thread)| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(|()| vm)
            });
            match done {
                Ok(vm) => printer::line(&vm.name)?,
                Err(failure) => {
                    code = code.max(failure.code);
                    printer::failure(&failure);
                }
            }
        }
        Ok(code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: &str, name: &str) -> VmView {
        serde_json::from_value(serde_json::json!({
            "id": id, "name": name, "state": "running", "image": "i", "kernel": "k", "address": "172.16.0.2",
            "vcpu": 1, "memory": 1, "disk_size": 1, "nat": false, "created": "2026-01-01T00:00:00Z", "lease": false
        }))
        .unwrap()
    }

    fn names(given: &[&str], vms: &[VmView]) -> Vec<Result<String, SelectError>> {
        let given: Vec<_> = given.iter().map(ToString::to_string).collect();
        select(&given, vms).into_iter().map(|vm| vm.map(|vm| vm.name.to_string())).collect()
    }

    #[test]
    fn a_name_goes_before_an_id_and_an_id_before_a_prefix() {
        let vms = [vm("aaaaaaaaaaaa", "one"), vm("bbbbbbbbbbbb", "aaaaaaaaaaaa"), vm("abbbbbbbbbbb", "a")];
        assert_eq!(names(&["aaaaaaaaaaaa"], &vms), [Ok("aaaaaaaaaaaa".to_owned())]);
        assert_eq!(names(&["a"], &vms), [Ok("a".to_owned())]);
        assert_eq!(names(&["bb"], &vms), [Ok("aaaaaaaaaaaa".to_owned())]);
    }

    #[test]
    fn a_vm_is_meant_once_and_what_is_unknown_stays_in_its_place() {
        let vms = [vm("aaaaaaaaaaaa", "one"), vm("abbbbbbbbbbb", "two")];
        let none = || Err(SelectError::None { given: "x".to_owned(), meant: None });
        let found = names(&["two", "x", "one", "abb", "x"], &vms);
        assert_eq!(found, [Ok("two".to_owned()), none(), Ok("one".to_owned())]);
        assert!(matches!(names(&["a"], &vms)[..], [Err(SelectError::Several { .. })]));
        assert_eq!(names(&[""], &vms), [Err(SelectError::None { given: String::new(), meant: None })]);
    }
}
