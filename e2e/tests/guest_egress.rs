//! A guest's way to the world, and nowhere else, tried on a host of the test's own.

use banger_e2e::{Checks, Place, Sandbox};

/// What the guest hears at an address, `nothing` when nobody answers it.
fn heard(sandbox: &Sandbox, address: &str, port: u16) -> String {
    let ask = format!("timeout 10 cat < /dev/tcp/{address}/{port} 2>/dev/null || echo nothing");
    let told = sandbox.exec("dev", &["timeout", "15", "bash", "-c", &ask]);
    told.stdout_text().trim().to_owned()
}

#[test]
fn a_guest_with_nat_reaches_the_world_and_never_the_host_or_private_networks() {
    let mut sandbox = Sandbox::with_image();
    sandbox.move_into(Place::with_a_world());
    let _ = sandbox.banger(["vm", "create", "--name", "dev", "--nat"]).run().expect_success();
    let mut checks = Checks::new();
    let pasta = || sandbox.running("pasta.avx2").into_iter().chain(sandbox.running("pasta")).next();
    let first = pasta();

    checks.check("it reaches a server in the world", || {
        assert_eq!(heard(&sandbox, "198.51.100.7", 80), "the world");
    });
    checks.check("it reaches no private network, and nothing of the host", || {
        for (address, port) in [
            ("10.1.1.1", 80),
            ("203.0.113.1", 8081),
            ("172.16.0.1", 8081),
            ("192.0.0.1", 8080),
            ("192.0.0.1", 8081),
            ("192.0.0.2", 8081),
            ("127.0.0.1", 8080),
        ] {
            assert_eq!(heard(&sandbox, address, port), "nothing", "{address}:{port}");
        }
    });
    checks.check("the host answers that it is there", || {
        let _ = sandbox.exec("dev", &["ping", "-c", "1", "-W", "10", "172.16.0.1"]).expect_success();
    });
    checks.check("a daemon that dies takes the way out along for nobody", || {
        sandbox.kill("bangerd");
        assert_eq!(heard(&sandbox, "198.51.100.7", 80), "the world");
        assert!(first.is_some() && pasta() == first, "{first:?} became {:?}", pasta());
    });
    checks.check("it loses the world when NAT is turned off, and gets it back", || {
        let _ = sandbox.banger(["vm", "set", "dev", "--nat", "off"]).run().expect_success();
        assert_eq!(heard(&sandbox, "198.51.100.7", 80), "nothing");
        assert_eq!(pasta(), None, "nobody needs it");
        let _ = sandbox.banger(["vm", "set", "dev", "--nat", "on"]).run().expect_success();
        assert_eq!(heard(&sandbox, "198.51.100.7", 80), "the world");
    });
    checks.check("nothing is left of it", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        sandbox.assert_nothing_left();
    });
    checks.finish();
}
