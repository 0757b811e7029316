//! A guest's way to the world, and nowhere else, tried on a host of the test's own.

use banger_e2e::{Checks, Place, Sandbox};

const WORLD: &str = "198.51.100.7/80";

/// What the guest hears at each of these addresses and ports, asked at once; `nothing` where nobody answers.
fn heard(sandbox: &Sandbox, ends: &[&str]) -> Vec<String> {
    let ask = "for end; do timeout 10 bash -c \"cat < /dev/tcp/$end\" > /tmp/${end////-} 2>/dev/null || \
               echo nothing > /tmp/${end////-} & done; wait; for end; do cat /tmp/${end////-}; done";
    let told = sandbox.exec("dev", &[&["bash", "-c", ask, "bash"], ends].concat()).expect_success();
    told.stdout_text().lines().map(str::to_owned).collect()
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
        assert_eq!(heard(&sandbox, &[WORLD]), ["the world"]);
    });
    checks.check("it reaches no private network, and nothing of the host", || {
        let ends = [
            "10.1.1.1/80",
            "203.0.113.1/8081",
            "172.16.0.1/8081",
            "192.0.0.1/8080",
            "192.0.0.1/8081",
            "192.0.0.2/8081",
            "127.0.0.1/8080",
        ];
        assert_eq!(heard(&sandbox, &ends), ["nothing"; 7]);
    });
    checks.check("the host answers that it is there", || {
        let _ = sandbox.exec("dev", &["ping", "-c", "1", "-W", "10", "172.16.0.1"]).expect_success();
    });
    checks.check("a daemon that dies takes the way out along for nobody", || {
        sandbox.kill("bangerd");
        assert_eq!(heard(&sandbox, &[WORLD]), ["the world"]);
        assert!(first.is_some() && pasta() == first, "{first:?} became {:?}", pasta());
    });
    checks.check("it loses the world when NAT is turned off, and gets it back", || {
        let _ = sandbox.banger(["vm", "set", "dev", "--nat", "off"]).run().expect_success();
        assert_eq!(heard(&sandbox, &[WORLD]), ["nothing"]);
        assert_eq!(pasta(), None, "nobody needs it");
        let _ = sandbox.banger(["vm", "set", "dev", "--nat", "on"]).run().expect_success();
        assert_eq!(heard(&sandbox, &[WORLD]), ["the world"]);
    });
    checks.check("nothing is left of it", || {
        let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
        sandbox.assert_nothing_left();
    });
    checks.finish();
}
