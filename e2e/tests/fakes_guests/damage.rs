//! Records that cannot be read: the daemon starts, tells which they are, and the rest works.

use banger_e2e::Sandbox;
use std::fs;

fn ok(sandbox: &Sandbox, arguments: &[&str]) {
    let _ = sandbox.banger(arguments).run().expect_success();
}

fn doctor_says(sandbox: &Sandbox, words: &[&str]) {
    // It fails because of what it finds, so its JSON is read without regard for its code.
    let finished = sandbox.banger(["doctor", "--json"]).run();
    let report = finished.stdout_text();
    for word in words {
        assert!(report.contains(word), "the doctor does not mention {word}: {report}");
    }
}

/// Changes the database behind everybody's back.
fn sql(sandbox: &Sandbox, statement: &str) {
    let database = sandbox.state().join("banger.db");
    let connection = rusqlite::Connection::open(database).expect("the database opens");
    assert_eq!(connection.execute(statement, []).expect("the statement is right"), 1);
}

#[test]
fn a_damaged_row_is_told_hides_no_other_and_can_be_deleted() {
    for (column, value) in [("state", "{\"runn"), ("spec", "[]"), ("stages", ""), ("lease", "x")] {
        let sandbox = Sandbox::with_fake_guests();
        ok(&sandbox, &["vm", "create", "--name", "bad"]);
        ok(&sandbox, &["vm", "create", "--name", "good"]);
        let id = sandbox.json(&["vm", "show", "bad"])["id"].as_str().expect("an id").to_owned();
        sandbox.kill("bangerd");
        sql(&sandbox, &format!("UPDATE vms SET {column} = '{value}' WHERE name = 'bad'"));

        assert_eq!(sandbox.json(&["vm", "show", "good"])["state"], "running", "{column}");
        assert_eq!(sandbox.exec("good", &["echo", "hello"]).expect_success().stdout_text(), "hello\n");
        doctor_says(&sandbox, &[&id, "banger vm delete"]);
        let shown = sandbox.json(&["vm", "show", "bad"]);
        assert_eq!(shown["state"], "failed", "{shown}");
        assert!(shown["reason"].as_str().is_some_and(|why| why.contains("damaged")), "{shown}");
        let _ =
            sandbox.banger(["vm", "start", "bad"]).run().expect_failure(&["damaged", "banger vm delete bad"]);
        ok(&sandbox, &["vm", "delete", "bad", "good"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_truncated_manifest_is_told_and_its_image_is_not_there_until_it_is_mended() {
    let sandbox = Sandbox::with_fake_guests();
    let manifest = sandbox.state().join("images/held/manifest.json");
    let whole = fs::read(&manifest).expect("it is there");
    fs::write(&manifest, &whole[..whole.len() / 2]).expect("it is writable");
    doctor_says(&sandbox, &["set aside", "images/held"]);
    for verb in ["vm create --image held", "image show held", "image delete held"] {
        let _ = sandbox.banger(verb.split(' ')).run().expect_failure(&["set aside", "images/held, then"]);
    }
    ok(&sandbox, &["vm", "run", "--rm", "--", "true"]);

    ok(&sandbox, &["daemon", "stop"]);
    fs::write(&manifest, &whole).expect("it is writable");
    ok(&sandbox, &["vm", "create", "--no-start", "--name", "dev", "--image", "held"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}

#[test]
fn an_image_or_kernel_that_lost_a_file_is_named_when_it_is_needed() {
    for (file, hint) in [
        ("images/debian-bookworm/rootfs.ext4", "banger image delete debian-bookworm"),
        ("kernels/debian-bookworm-cloud/vmlinux", "banger kernel rm debian-bookworm-cloud"),
    ] {
        let sandbox = Sandbox::with_fake_guests();
        fs::remove_file(sandbox.state().join(file)).expect("it was there");
        let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_failure(&[file, hint]);
        ok(&sandbox, &["vm", "delete", "dev"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn an_unfinished_image_is_removed_when_the_daemon_starts() {
    let sandbox = Sandbox::with_fake_guests();
    let draft = sandbox.state().join("images/.tmp-0123456789ab");
    fs::create_dir(&draft).expect("it is writable");
    fs::write(draft.join("rootfs.ext4"), "half").expect("it is writable");
    assert_eq!(sandbox.leftovers().len(), 2, "the inventory does not see it");
    let _ = sandbox.vm_ids();
    assert!(!draft.exists());
    sandbox.assert_nothing_left();
}

#[test]
fn a_database_that_is_garbage_empty_or_gone_costs_no_vm_its_disks() {
    for damage in [Some(&b"this is no database"[..]), Some(b""), None] {
        let sandbox = Sandbox::with_fake_guests();
        ok(&sandbox, &["vm", "create", "--name", "up"]);
        ok(&sandbox, &["vm", "create", "--name", "down"]);
        ok(&sandbox, &["vm", "stop", "down"]);
        sandbox.kill("bangerd");
        for file in ["banger.db", "banger.db-wal", "banger.db-shm"] {
            fs::remove_file(sandbox.state().join(file)).expect("it was there");
        }
        if let Some(bytes) = damage {
            fs::write(sandbox.state().join("banger.db"), bytes).expect("it is writable");
        }

        let ids = sandbox.vm_ids();
        assert_eq!(ids.len(), 2, "{damage:?}");
        assert_eq!(sandbox.running("fake-qemu").len(), 1, "the running guest was ended");
        for id in &ids {
            assert!(sandbox.state().join("vms").join(id).join("work.img").exists(), "{damage:?}");
            doctor_says(&sandbox, &[id]);
        }
        if damage.is_some_and(|bytes| !bytes.is_empty()) {
            doctor_says(&sandbox, &["set aside", "banger.db.damaged-"]);
        }
        // The next daemon still knows them, and everything else works.
        ok(&sandbox, &["daemon", "stop"]);
        ok(&sandbox, &["vm", "run", "--rm", "--", "true"]);
        ok(&sandbox, &["vm", "delete", &ids[0], &ids[1]]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn a_guest_that_cannot_be_recorded_as_running_is_taken_down_again() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.vm_ids();
    let batch = |statement: &str| {
        let connection = rusqlite::Connection::open(sandbox.state().join("banger.db"));
        connection
            .and_then(|connection| connection.execute_batch(statement))
            .expect("the statement is right");
    };
    batch(
        "CREATE TRIGGER full BEFORE UPDATE OF state ON vms WHEN NEW.state LIKE '%running%'
         BEGIN SELECT RAISE(ABORT, 'planted'); END",
    );
    let _ =
        sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_failure(&["did not start", "planted"]);
    assert_eq!(sandbox.json(&["vm", "show", "dev"])["state"], "failed");
    assert!(sandbox.leftovers().iter().all(|line| line.starts_with("folder")), "{:?}", sandbox.leftovers());
    batch("DROP TRIGGER full");
    ok(&sandbox, &["vm", "start", "dev"]);
    ok(&sandbox, &["vm", "delete", "dev"]);
    sandbox.assert_nothing_left();
}
