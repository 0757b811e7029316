//! The helper's own life: starting once, being killed under running VMs, entering their namespaces again.

mod harness;

use banger_protocol::root_api::{
    InventoryRequest, NetworkEnsure, ProcessIdentity, ProcessKillAll, Program, Shutdown,
};
use harness::{Start, Vm, ended, folder, sleeper, start_time, tap, until};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_killed_helper_is_followed_by_one_that_finds_its_vms() {
    let folder = folder();
    let start = Start { vsock_backend: Some(sleeper(folder.path())), ..Start::default() };
    let mut first = start.helper(folder.path());
    let mut connection = first.connect();
    let vm = Vm::new(folder.path());
    connection.call(&NetworkEnsure::default()).unwrap();
    connection.call(&tap(&vm.id, 2)).unwrap();
    let process = vm.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    let before = connection.call(&InventoryRequest {}).unwrap();
    first.child.kill().unwrap();
    ended(&mut first.child);
    assert_eq!(start_time(process.pid), Some(process.start_time), "the VM ended with the helper");

    let second = Start { join: Some(process), ..start }.helper(folder.path());
    let mut connection = second.connect();
    assert_eq!(connection.call(&InventoryRequest {}).unwrap(), before);
    // It does not know whether the rules are right, and puts them in place again with the guests it finds.
    assert!(connection.call(&NetworkEnsure::default()).unwrap().changed);
    assert!(!connection.call(&NetworkEnsure::default()).unwrap().changed);
    let guests = second.inside("nft", &["list", "set", "bridge", "banger", "guests"]);
    assert!(guests.contains(&vm.id.tap_name()), "{guests}");
    assert!(!connection.call(&tap(&vm.id, 2)).unwrap().changed);
    assert_eq!(vm.start(&mut connection, Program::VsockBackend, &[]).unwrap(), process);
    let other = Vm::new(folder.path());
    other.start(&mut connection, Program::VsockBackend, &[]).unwrap();
    assert_eq!(connection.call(&ProcessKillAll { vm: vm.id.clone() }).unwrap().len(), 1);
    until("the VM's process is gone", || start_time(process.pid).is_none());
}

#[test]
fn a_process_that_is_not_the_one_meant_is_not_joined() {
    let folder = folder();
    let pid = std::process::id();
    let recycled = ProcessIdentity { pid, start_time: start_time(pid).unwrap() + 1 };
    for process in [recycled, ProcessIdentity { pid: 0, start_time: 0 }] {
        let mut child = Start { join: Some(process), ..Start::default() }.spawn(folder.path());
        assert_eq!(ended(&mut child).code(), Some(1));
        let said = std::fs::read_to_string(folder.path().join("root.log")).unwrap();
        assert!(said.contains("bangerd-root: the namespaces of process"), "{said}");
        assert!(said.contains("not alive any more"), "{said}");
    }
}

#[test]
fn eight_cold_starts_are_one_helper() {
    let folder = folder();
    let mut children: Vec<_> = (0..8).map(|_| Start::default().spawn(folder.path())).collect();
    let mut alive = children.len();
    until("seven have ended", || {
        alive =
            children.iter_mut().filter_map(|child| child.try_wait().unwrap().is_none().then_some(())).count();
        alive == 1
    });
    for mut child in children {
        match child.try_wait().unwrap() {
            Some(status) => assert!(status.success(), "{status}"),
            None => drop(harness::Helper { child, folder: folder.path().to_owned() }.connect()),
        }
    }
}

#[test]
fn a_socket_that_nobody_answers_on_is_replaced_and_a_file_is_not() {
    let folder = folder();
    let mut helper = Start::default().helper(folder.path());
    helper.child.kill().unwrap();
    ended(&mut helper.child);
    assert!(helper.socket().exists());
    let again = Start::default().helper(folder.path());
    assert_eq!(std::fs::metadata(again.socket()).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(again);

    std::fs::remove_file(folder.path().join("root.sock")).unwrap();
    std::fs::write(folder.path().join("root.sock"), "somebody's").unwrap();
    let mut child = Start::default().spawn(folder.path());
    assert_eq!(ended(&mut child).code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join("root.sock")).unwrap(), "somebody's");
    let said = std::fs::read_to_string(folder.path().join("root.log")).unwrap();
    assert!(said.contains("\nhint: "), "{said}");
}

#[test]
fn shutdown_ends_the_helper_and_nothing_else() {
    let folder = folder();
    let start = Start { vsock_backend: Some(sleeper(folder.path())), ..Start::default() };
    let mut first = start.helper(folder.path());
    let vm = Vm::new(folder.path());
    let process = vm.start(&mut first.connect(), Program::VsockBackend, &[]).unwrap();
    assert!(first.connect().call(&Shutdown {}).unwrap().changed);
    assert!(!first.socket().exists());
    assert!(ended(&mut first.child).success());
    assert_eq!(start_time(process.pid), Some(process.start_time));

    let second = Start { join: Some(process), ..start }.helper(folder.path());
    assert_eq!(second.connect().call(&ProcessKillAll { vm: vm.id.clone() }).unwrap().len(), 1);
}

#[test]
fn neither_a_helper_without_a_mode_nor_one_of_a_system_that_is_not_installed_starts() {
    for (arguments, reason) in [
        (
            &["--socket", "/nowhere/root.sock"][..],
            "nothing was started: one of --local and --system is needed",
        ),
        (&["--system"], "nothing was started: "),
        (&["--system", "--clear"], "nothing was started: "),
    ] {
        let output = harness::run(env!("CARGO_BIN_EXE_bangerd-root"), arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("bangerd-root: {reason}")) && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn a_host_that_allows_no_namespaces_is_told_which_setting_does_that() {
    let folder = folder();
    let socket = folder.path().join("root.sock");
    // The limit counts per user namespace, so it can be set for the helper alone.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && \
         exec {} --local --bridge br-banger --address 172.16.0.1/24 --socket {}",
        env!("CARGO_BIN_EXE_bangerd-root"),
        socket.display()
    );
    let output = harness::run("unshare", &["--user", "--map-root-user", "sh", "-c", &script]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("bangerd-root: no private namespaces were created: "), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("sysctl user.max_user_namespaces="), "{said}");
    assert!(!socket.exists());
}
