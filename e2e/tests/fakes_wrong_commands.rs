//! What somebody is told who types what cannot be done: what did not happen, why, and what to do.
//!
//! Every message is in a snapshot, so that a change of one is read by whoever reviews it. Each has to say more than
//! that something is wrong: the table is refused when one has no hint, prints to stdout, or takes a while.

use banger_e2e::{Finished, Sandbox};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// What is typed, in a home with a running VM `dev`, a stopped `idle`, a paused `paused`, a file and no repository.
const TYPED: &[&str] = &[
    // Misspelt, or as it is elsewhere.
    "vm strat dev",
    "run --rm -- true",
    "vm run --rn",
    "vm exec dev ls -l",
    "frobnicate",
    // A VM that is not there, or not as it has to be.
    "vm start nosuch",
    "vm exec deb -- true",
    "vm show ''",
    "vm exec idle -- true",
    "vm exec paused -- true",
    "vm ssh idle",
    "vm set dev --memory 2G",
    "vm set idle",
    "vm pause idle",
    "vm delete nosuch dev2",
    // Names.
    "vm create --name dev",
    "vm create --name Dev_1",
    "vm create --name -x",
    "vm run --image debian-bokworm --rm -- true",
    "image pull debain-bookworm",
    "image show nosuch",
    "vm create --kernel nosuch",
    "kernel pull nosuch",
    // Numbers.
    "vm create --memory 1.5G",
    "vm create --memory 1",
    "vm create --vcpu 0",
    "vm create --vcpu many",
    "vm create --disk-size 1M",
    // What excludes each other, or makes no sense.
    "vm run -d --name x -- make test",
    "vm run -d --rm",
    "vm run ./file",
    "vm run file",
    "vm run ./missing",
    "vm run make test",
    "vm run https://example.org/shop.git",
    "vm run git@example.org:shop.git",
    "vm run . --branch fix",
    "vm exec dev --ssh-agent -- true",
    "vm list -q --json",
    "vm exec dev -e =x -- true",
    "vm exec dev -e SURELY_NOT_SET_HERE -- true",
    "vm kill --signal HUP dev",
    "completion tcsh",
    // Files and programs in a guest.
    "vm cp ./missing dev:/root",
    "vm cp dev:/missing .",
    "vm cp ./file ./other",
    "vm cp ./file nosuch:/root",
    "vm exec dev -- /no/such/program",
    // What others still need.
    "image delete debian-bookworm",
    "image delete nosuch",
    "kernel rm debian-bookworm-cloud",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| word.trim_matches('\'')).collect()
}

/// What differs from run to run and from machine to machine.
fn settled(sandbox: &Sandbox, text: &str) -> String {
    let home = sandbox.home();
    let parent = home.parent().expect("the home lies in the sandbox").display().to_string();
    let mut settled = text.replace(&parent, "<sandbox>");
    for id in sandbox.vm_ids() {
        settled = settled.replace(&id, "<id>");
    }
    let host = sandbox.banger(["vm", "create", "--vcpu", "0"]).run().stderr_text();
    if let Some(cpus) = host.split("1 to ").nth(1).and_then(|rest| rest.split(',').next()) {
        settled = settled.replace(&format!("1 to {cpus},"), "1 to <cpus>,");
    }
    let host = sandbox.banger(["vm", "create", "--memory", "1"]).run().stderr_text();
    if let Some(memory) = host.split("128 MiB to ").nth(1).and_then(|rest| rest.split(';').next()) {
        settled = settled.replace(&format!("128 MiB to {memory};"), "128 MiB to <memory>;");
    }
    let without_operation = settled.lines().filter(|line| !line.starts_with("operation "));
    without_operation.map(|line| format!("  {line}\n")).collect()
}

fn complaints_about(line: &str, finished: &Finished) -> Vec<String> {
    let text = finished.stderr_text();
    let mut complaints = Vec::new();
    let mut unless = |is_so: bool, what: &str| {
        if !is_so {
            complaints.push(format!("{what}: `banger {line}`\n{text}"));
        }
    };
    unless(finished.code().is_some_and(|code| code != 0), "it counts as done");
    unless(finished.stdout.is_empty(), "talk on stdout");
    unless(finished.took < Duration::from_secs(10), "it takes a while");
    unless(text.starts_with("banger: ") && text.contains("\nhint: "), "it does not say what to do");
    complaints
}

#[test]
fn each_of_many_wrong_commands_says_what_did_not_happen_and_why_and_what_to_do() {
    let sandbox = Sandbox::with_fake_guests();
    fs::write(sandbox.home().join("file"), "").expect("the home is writable");
    for arguments in [
        &["vm", "create", "--name", "dev"][..],
        &["vm", "create", "--name", "idle", "--no-start"],
        &["vm", "create", "--name", "paused"],
        &["vm", "pause", "paused"],
    ] {
        let _ = sandbox.banger(arguments).run().expect_success();
    }
    let (mut told, mut complaints) = (String::new(), Vec::new());
    for line in TYPED {
        let finished = sandbox.banger(words(line)).run();
        complaints.extend(complaints_about(line, &finished));
        let code = finished.code().unwrap_or(-1);
        writeln!(told, "$ banger {line}    # {code}\n{}", settled(&sandbox, &finished.stderr_text()))
            .expect("text can be written to a string");
    }
    assert_eq!(sandbox.vm_ids().len(), 3, "one of them made a VM");
    let _ = sandbox.banger(["vm", "delete", "dev", "idle", "paused"]).run().expect_success();
    sandbox.assert_nothing_left();
    insta::assert_snapshot!("wrong_commands", told);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn settings_that_cannot_be_read_or_used_are_told_with_what_to_do() {
    let sandbox = Sandbox::with_fake_guests();
    let mut told = String::new();
    for text in [
        "vmn = \"qemu\"\n",
        "[vm_defaults]\nmemory = \"much\"\n",
        "auto_stop_stale_after = 3\n",
        "vmm = \"qemu\n",
    ] {
        fs::write(sandbox.home().join("../config/banger/config.toml"), text).expect("it is writable");
        let finished = sandbox.banger(["vm", "list"]).run().expect_code(1);
        let text = finished
            .stderr_text()
            .replace(&sandbox.home().parent().expect("it has one").display().to_string(), "<sandbox>");
        writeln!(told, "{text}").expect("text can be written to a string");
    }
    sandbox.configure("");
    insta::assert_snapshot!("wrong_settings", told);
}
