//! Guests' names, asked for where guests ask: at the bridge's address, in the helper's network namespace.

use banger_e2e::{FakeVmm, Sandbox};

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

/// The code and the records of the answer, the same over UDP and over TCP.
fn ask(sandbox: &Sandbox, name: &str, kind: &str) -> String {
    let helper = sandbox.running("bangerd-root")[0].pid.to_string();
    let [udp, tcp] = ["udp", "tcp"].map(|transport| {
        let inside =
            ["-t", &helper, "-U", "-n", "--preserve-credentials", "--", env!("CARGO_BIN_EXE_ask-dns")];
        let asked = [transport, "172.16.0.1:42069", name, kind];
        sandbox
            .tool("nsenter", inside.iter().chain(&asked))
            .run()
            .expect_success()
            .stdout_text()
            .trim()
            .to_owned()
    });
    assert_eq!(udp, tcp, "{name} {kind}");
    udp
}

#[test]
fn a_guest_has_its_name_while_it_is_up() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    ok(&sandbox, &["vm", "create", "--name", "other"]);
    let (here, gone) = ("NoError 172.16.0.2", "NXDomain");
    assert_eq!(ask(&sandbox, "dev.vm.", "A"), here);
    assert_eq!(ask(&sandbox, "OTHER.VM.", "A"), "NoError 172.16.0.3");
    assert_eq!(ask(&sandbox, "dev.vm.", "AAAA"), "NoError");
    assert_eq!(ask(&sandbox, "2.0.16.172.in-addr.arpa.", "PTR"), "NoError dev.vm.");
    assert_eq!(ask(&sandbox, "9.0.16.172.in-addr.arpa.", "PTR"), gone);
    assert_eq!(ask(&sandbox, "nobody.vm.", "A"), gone);
    assert_eq!(ask(&sandbox, "debian.org.", "A"), "Refused");

    for (verb, then) in [
        ("pause", here),
        ("resume", here),
        ("restart", here),
        ("stop", gone),
        ("start", here),
        ("kill", gone),
        ("start", here),
        ("delete", gone),
    ] {
        ok(&sandbox, &["vm", verb, "dev"]);
        assert_eq!(ask(&sandbox, "dev.vm.", "A"), then, "after {verb}");
    }
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    assert_eq!(ask(&sandbox, "dev.vm.", "A"), here, "the lowest address is free again");
    let _ = sandbox.exec("dev", &["poweroff"]);
    sandbox.until("it is stopped", || sandbox.json(&["vm", "show", "dev"])["state"] == "stopped");
    assert_eq!(ask(&sandbox, "dev.vm.", "A"), gone);
    ok(&sandbox, &["vm", "delete", "dev", "other"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_guest_that_does_not_come_up_has_no_name() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    let failed = sandbox.banger(["vm", "create", "--name", "late", "--image", "boot-fails"]).run();
    let _ = failed.expect_code(1);
    assert_eq!(ask(&sandbox, "late.vm.", "A"), "NXDomain");
    ok(&sandbox, &["vm", "delete", "dev", "late"]);
    sandbox.assert_nothing_left();
}

#[test]
fn names_outlive_the_daemon_and_the_helper() {
    for vmm in FakeVmm::ALL {
        let sandbox = Sandbox::with_fake_guests_of(vmm);
        for doomed in [&["bangerd"][..], &["bangerd-root"], &["bangerd", "bangerd-root"]] {
            ok(&sandbox, &["vm", "create", "--name", "dev"]);
            for program in doomed {
                sandbox.kill(program);
            }
            // The next command starts what is missing; who answers is the daemon, so one more VM makes no difference.
            ok(&sandbox, &["vm", "create", "--name", "other"]);
            assert_eq!(ask(&sandbox, "dev.vm.", "A"), "NoError 172.16.0.2", "{doomed:?}");
            assert_eq!(ask(&sandbox, "other.vm.", "A"), "NoError 172.16.0.3", "{doomed:?}");
            ok(&sandbox, &["vm", "delete", "dev", "other"]);
        }
        sandbox.assert_nothing_left();
    }
}

#[test]
fn an_adopted_guest_has_its_name_before_anything_is_asked_of_the_new_daemon() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    ok(&sandbox, &["daemon", "stop"]);
    ok(&sandbox, &["vm", "list"]);
    assert_eq!(ask(&sandbox, "dev.vm.", "A"), "NoError 172.16.0.2");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn a_helper_that_had_to_begin_anew_is_listened_in_again() {
    let sandbox = Sandbox::with_fake_guests();
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    // With its last process goes its namespace, but for the daemon's sockets in it.
    sandbox.kill("bangerd-root");
    ok(&sandbox, &["vm", "create", "--name", "dev"]);
    assert_eq!(ask(&sandbox, "dev.vm.", "A"), "NoError 172.16.0.2");
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
