//! Several VMs at once.

use super::fake::World;
use super::{ONE, TWO};

#[test]
fn several_vms_are_deleted_in_order_and_an_unknown_one_does_not_hold_up_the_others() {
    let world = World::new();
    let daemon = world.daemon();
    daemon.has_vm(ONE, "one");
    daemon.has_vm(TWO, "two");
    let finished = world.run(&["vm", "delete", "two", "nonesuch", "one", "abb"]);
    assert_eq!((finished.code, finished.out.as_slice()), (Some(1), &b"two\none\n"[..]));
    assert!(finished.err.starts_with("banger: VM `nonesuch` not found\n"), "{}", finished.err);
    assert_eq!(daemon.vm_names(), [""; 0]);
}

#[test]
fn a_list_is_a_table_ids_or_json() {
    let world = World::new();
    world.daemon().has_vm(ONE, "one");
    let table = String::from_utf8(world.run(&["ps"]).out).unwrap();
    let heads: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "NAME", "STATE", "IMAGE", "IP", "VCPU", "MEM", "DISK", "WORKSPACE", "CREATED"]);
    assert_eq!(world.run(&["vm", "list", "-q"]).out, format!("{ONE}\n").into_bytes());
    let json: serde_json::Value = serde_json::from_slice(&world.run(&["vm", "ps", "--json"]).out).unwrap();
    assert_eq!(json[0]["name"], "one");
    assert_eq!(world.run(&["vm", "logs", "one"]).out, b"booting\n");
}
