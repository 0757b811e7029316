//! Several guests at the same moment. These tests load the machine on purpose and run alone.

use banger_e2e::{Running, Sandbox};
use std::collections::BTreeSet;
use std::time::Duration;

const SMALL: [&str; 4] = ["--vcpu", "1", "--memory", "256M"];
const LIMIT: Duration = Duration::from_secs(900);

#[test]
fn two_runs_at_once_both_succeed() {
    let sandbox = Sandbox::with_image();
    let run = |word: &'static str| {
        let arguments = ["vm", "run", "--rm"].into_iter().chain(SMALL).chain(["--", "echo", word]);
        sandbox.banger(arguments.collect::<Vec<_>>()).limit(LIMIT).start()
    };
    let both = [run("one"), run("two")];
    let said: Vec<_> = both.map(Running::finish).map(|run| run.expect_success().stdout).into();
    assert_eq!(said, [b"one\n", b"two\n"]);
    assert_eq!(sandbox.vm_ids(), [""; 0]);
}

#[test]
fn ten_creates_at_once_all_succeed_with_addresses_of_their_own() {
    let sandbox = Sandbox::with_image();
    let names: Vec<String> = (0..10).map(|number| format!("many-{number}")).collect();
    let started: Vec<Running> = names
        .iter()
        .map(|name| {
            let arguments = ["vm", "create", "--name", name].into_iter().chain(SMALL);
            sandbox.banger(arguments.collect::<Vec<_>>()).limit(LIMIT).start()
        })
        .collect();
    for running in started {
        let _ = running.finish().expect_success();
    }
    let listed = sandbox.json(&["vm", "list"]);
    let vms = listed.as_array().expect("a list");
    let addresses: BTreeSet<&str> = vms.iter().filter_map(|vm| vm["address"].as_str()).collect();
    assert_eq!((vms.len(), addresses.len()), (10, 10), "{listed}");
    assert!(vms.iter().all(|vm| vm["state"] == "running"), "{listed}");

    let arguments = ["vm", "delete"].into_iter().chain(names.iter().map(String::as_str));
    let _ = sandbox.banger(arguments).limit(LIMIT).run().expect_success();
    assert_eq!(sandbox.vm_folders(), [""; 0]);
}
