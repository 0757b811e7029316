//! Guests know each other by name, with whatever resolver their image has.

use banger_e2e::{Checks, Sandbox};

#[test]
fn a_guest_finds_another_by_its_name_and_by_its_address() {
    let sandbox = Sandbox::with_image();
    let others = sandbox.banger(["vm", "create", "--name", "other"]).start();
    let _ = sandbox.banger(["vm", "create", "--name", "dev"]).run().expect_success();
    let _ = others.finish().expect_success();
    let other = sandbox.json(&["vm", "show", "other"])["address"].as_str().expect("an address").to_owned();
    let getent = |name: &str| sandbox.exec("dev", &["getent", "ahostsv4", name]);
    let mut checks = Checks::new();

    checks.check("by its whole name, its bare name, and however it is written", || {
        for name in ["other.vm", "other", "OTHER.vm"] {
            let found = getent(name).expect_success();
            assert!(found.stdout_text().starts_with(&format!("{other} ")), "{name}: {}", found.stdout_text());
        }
    });
    checks.check("by its address", || {
        let found = sandbox.exec("dev", &["getent", "hosts", &other]).expect_success();
        assert!(found.stdout_text().trim_end().ends_with("other.vm"), "{}", found.stdout_text());
    });
    checks.check("nobody by a name that is nobody's, and at once", || {
        for name in ["nobody.vm", "debian.org"] {
            let none = getent(name).expect_code(2);
            assert!(none.took.as_secs() < 15, "{name}: {:?}", none.took);
        }
    });
    checks.check("not any more when it is gone", || {
        let _ = sandbox.banger(["vm", "stop", "other"]).run().expect_success();
        let _ = getent("other.vm").expect_code(2);
    });
    let _ = sandbox.banger(["vm", "delete", "dev", "other"]).run().expect_success();
    checks.finish();
}
