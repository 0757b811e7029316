//! The guests' way out: there while a guest with NAT is up, whatever becomes of whom.

use banger_e2e::{Checks, Place, Process, Sandbox};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// Every process that carries guests' traffic out.
fn ways_out(sandbox: &Sandbox) -> Vec<Process> {
    let mut all = sandbox.processes();
    all.retain(|process| process.program().starts_with("pasta"));
    all
}

fn the_way_out(sandbox: &Sandbox) -> Process {
    let all = ways_out(sandbox);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn there_is_one_way_out_from_the_first_guest_with_nat_to_the_last() {
    let sandbox = Sandbox::with_fake_guests();
    let mut checks = Checks::new();
    checks.check("without NAT there is none", || {
        ok(&sandbox, &["vm", "create", "--name", "shut-in"]);
        assert_eq!(sandbox.json(&["vm", "show", "shut-in"])["nat"], false);
        assert_eq!(ways_out(&sandbox), []);
    });
    checks.check("the first guest with NAT has one, and so has the next", || {
        ok(&sandbox, &["vm", "create", "--name", "first", "--nat"]);
        let found = the_way_out(&sandbox);
        ok(&sandbox, &["vm", "create", "--name", "second", "--nat"]);
        assert_eq!(the_way_out(&sandbox), found);
        let listed = sandbox.json(&["vm", "list"]);
        let nat: Vec<_> = listed.as_array().expect("VMs").iter().map(|vm| &vm["nat"]).collect();
        assert_eq!(nat, [false, true, true]);
        assert!(
            sandbox.leftovers().iter().any(|line| line.contains("pasta")),
            "the inventory does not see it"
        );
    });
    checks.check("it stays until the last of them is stopped", || {
        let found = the_way_out(&sandbox);
        ok(&sandbox, &["vm", "stop", "first"]);
        assert_eq!(the_way_out(&sandbox), found);
        ok(&sandbox, &["vm", "stop", "second"]);
        assert_eq!(ways_out(&sandbox), []);
    });
    checks.check("NAT is remembered over a stop, and can be changed then", || {
        ok(&sandbox, &["vm", "start", "second"]);
        let _ = the_way_out(&sandbox);
        ok(&sandbox, &["vm", "stop", "second"]);
        ok(&sandbox, &["vm", "set", "second", "--nat", "off"]);
        ok(&sandbox, &["vm", "start", "second"]);
        assert_eq!(ways_out(&sandbox), []);
    });
    checks.check("a running guest is given NAT and loses it", || {
        for _ in 0..2 {
            ok(&sandbox, &["vm", "set", "shut-in", "--nat", "on"]);
            assert_eq!(sandbox.json(&["vm", "show", "shut-in"])["nat"], true);
            let _ = the_way_out(&sandbox);
        }
        for _ in 0..2 {
            ok(&sandbox, &["vm", "set", "shut-in", "--nat", "off"]);
            assert_eq!(sandbox.json(&["vm", "show", "shut-in"])["nat"], false);
            assert_eq!(ways_out(&sandbox), []);
        }
    });
    checks.check("of a running guest nothing else is changed along with it", || {
        let both = sandbox.banger(["vm", "set", "shut-in", "--nat", "on", "--vcpu", "1"]).run();
        let _ = both.expect_failure(&["running", "banger vm stop shut-in"]);
        assert_eq!(ways_out(&sandbox), []);
        assert_eq!(sandbox.json(&["vm", "show", "shut-in"])["nat"], false);
    });
    checks.check("deleted all at once they leave nothing", || {
        ok(&sandbox, &["vm", "set", "shut-in", "--nat", "on"]);
        ok(&sandbox, &["vm", "start", "first"]);
        ok(&sandbox, &["vm", "delete", "shut-in", "first", "second"]);
        sandbox.assert_nothing_left();
    });
    checks.finish();
}

#[test]
fn the_way_out_outlives_both_daemons_and_is_closed_by_the_next_ones() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev", "--nat"]);
    let found = the_way_out(&sandbox);
    for program in ["bangerd", "bangerd-root"] {
        sandbox.kill(program);
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "running");
        assert_eq!(the_way_out(&sandbox), found, "{program}");
    }
    ok(&sandbox, &["daemon", "stop"]);
    assert_eq!(the_way_out(&sandbox), found);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

/// Waits until another has taken the place of one, and is done with starting.
fn replaced(sandbox: &Sandbox, former: &Process) -> Process {
    sandbox.until("there is another", || {
        let number = std::fs::read_to_string(sandbox.state().join("egress.pid")).unwrap_or_default();
        ways_out(sandbox).iter().any(|process| process != former && process.pid.to_string() == number.trim())
    });
    the_way_out(sandbox)
}

#[test]
fn a_way_out_that_ends_is_replaced_while_somebody_needs_it() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev", "--nat"]);
    let first = the_way_out(&sandbox);
    sandbox.kill(first.program());
    let second = replaced(&sandbox, &first);

    // Nobody is there to see it end, and the next daemon sees that there is none.
    ok(&sandbox, &["daemon", "stop"]);
    sandbox.kill(second.program());
    ok(&sandbox, &["vm", "list"]);
    replaced(&sandbox, &second);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_way_out_of_guests_that_are_gone_is_closed_by_the_next_daemon() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev", "--nat"]);
    // The namespace goes with the last of these.
    for program in ["bangerd", "bangerd-root", "fake-qemu", "fake-vsock-backend"] {
        // A backend ends with its QEMU.
        sandbox.kill_all(program);
    }
    let stale = the_way_out(&sandbox);
    ok(&sandbox, &["vm", "list"]);
    assert_eq!(ways_out(&sandbox), [], "it serves nobody");

    ok(&sandbox, &["vm", "start", "dev"]);
    assert_ne!(the_way_out(&sandbox), stale);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_host_without_the_programs_for_a_network_is_told_which_package_has_them() {
    let mut checks = Checks::new();
    checks.check("without pasta guests run, and none has NAT", || {
        let mut sandbox = Sandbox::with_fake_guests();
        sandbox.move_into(Place::without("pasta"));
        let refused = sandbox.banger(["vm", "create", "--name", "dev", "--nat"]).run();
        let _ = refused.expect_failure(&["pasta is not installed", "passt"]);
        sandbox.assert_nothing_left();
        ok(&sandbox, &["vm", "create", "--name", "dev"]);
        let refused = sandbox.banger(["vm", "set", "dev", "--nat", "on"]).run();
        let _ = refused.expect_failure(&["pasta is not installed", "passt"]);
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["nat"], false);
        let doctor = sandbox.banger(["doctor"]).run();
        assert!(doctor.stdout_text().contains("passt"), "{}", doctor.stdout_text());
        ok(&sandbox, &["vm", "delete", "dev"]);
    });
    checks.check("without nft nothing runs", || {
        let mut sandbox = Sandbox::with_fake_guests();
        sandbox.move_into(Place::without("nft"));
        let refused = sandbox.banger(["vm", "create", "--name", "dev"]).run();
        let _ = refused.expect_failure(&["nft is not installed", "nftables"]);
        sandbox.assert_nothing_left();
        let doctor = sandbox.banger(["doctor"]).run();
        let _ = doctor.expect_failure(&[]);
    });
    checks.finish();
}

#[test]
fn what_would_be_a_way_to_the_host_itself_is_barred() {
    let mut sandbox = Sandbox::with_fake_guests();
    sandbox.move_into(Place::with_a_world());
    ok(&sandbox, &["vm", "create", "--name", "dev", "--nat"]);
    let helper = sandbox.running("bangerd-root")[0].pid.to_string();
    let nft = ["nft", "list", "set", "inet", "banger", "barred"];
    let inside = ["-t", &helper, "-U", "-n", "--preserve-credentials", "--"];
    let barred = sandbox.tool("nsenter", inside.iter().chain(&nft)).run().expect_success();
    assert!(barred.stdout_text().contains("elements = { 203.0.113.1 }"), "{}", barred.stdout_text());
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn what_a_daemon_left_undone_of_a_change_of_nat_is_undone_by_the_next() {
    for (fault, way_out) in [("abort:1", 0), ("abort:2", 0), ("abort-before:2", 0)] {
        let sandbox = Sandbox::with_fake_guests();
        ok(&sandbox, &["vm", "create", "--name", "dev"]);
        ok(&sandbox, &["daemon", "stop"]);
        let cut_off = sandbox.banger(["vm", "set", "dev", "--nat", "on"]).env("BANGER_FAULT", fault).run();
        assert_ne!(cut_off.code(), Some(0), "{fault}");
        assert_eq!(sandbox.json(&["vm", "show", "dev"])["nat"], false, "{fault}");
        sandbox.until("it is as recorded", || ways_out(&sandbox).len() == way_out);
        ok(&sandbox, &["vm", "set", "dev", "--nat", "on"]);
        let _ = the_way_out(&sandbox);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}
