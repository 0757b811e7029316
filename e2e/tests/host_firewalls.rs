//! Guests' way out of an installed banger beside the firewalls that others run on the host: real packets to a server in a
//! network namespace beside it.

use banger_e2e::{Checks, Host, Installed, World, guest_hears};

const WORLD: &str = "198.51.100.7/80";
const VMS: &str = "demo";

/// Whether the guest reaches the server, and as whom.
fn heard(installed: &Installed) -> String {
    guest_hears(installed, VMS, &[WORLD]).concat()
}

/// As whom the guest reaches the server, on a host whose one emulated processor may have other things to do.
fn heard_in_time(installed: &Installed) -> String {
    let mut told = (0..4).map(|_| heard(installed));
    told.find(|told| told != "nothing").unwrap_or_else(|| "nothing".to_owned())
}

fn set_nat(installed: &Installed, state: &str) -> banger_e2e::Finished {
    installed.banger(["vm", "set", VMS, "--nat", state]).run()
}

/// The commands that a failure says to type.
fn hint(stderr: &str) -> Vec<String> {
    let line =
        stderr.lines().find_map(|line| line.split_once("sudo ").map(|(_, rest)| format!("sudo {rest}")));
    let line = line.unwrap_or_else(|| panic!("there is no command in: {stderr}"));
    line.split(" && ").map(|command| command.trim().trim_matches('`').to_owned()).collect()
}

/// Types what was said, as whoever administers the host does.
fn type_it(installed: &Installed, commands: &[String]) {
    for command in commands {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let words: Vec<&str> = match words.as_slice() {
            ["banger", rest @ ..] => [&[installed.program()], rest].concat(),
            words => words.to_vec(),
        };
        let _ = installed.as_root(&words).expect_success();
    }
}

/// Somebody else's firewall on the host, which has it masked; gone with this, and with it what it leaves in the kernel.
struct Foreign<'a> {
    installed: &'a Installed,
    units: &'static [&'static str],
}

impl<'a> Foreign<'a> {
    fn begin(installed: &'a Installed, units: &'static [&'static str], script: &str) -> Self {
        let _ = installed.as_root(&[&["systemctl", "unmask", "--quiet"], units].concat()).expect_success();
        let foreign = Self { installed, units };
        let _ = installed.as_root(&["sh", "-c", script]).expect_success();
        foreign
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        let script = "systemctl stop \"$@\"; systemctl mask --quiet \"$@\"; ip link delete docker0; \
                      for t in 'ip filter' 'ip nat' 'ip6 filter' 'ip6 nat' 'inet firewalld'; do nft delete table $t; done";
        let _ = self.installed.as_root(&[&["sh", "-c", script, "sh"], self.units].concat());
    }
}

#[test]
fn guests_with_nat_get_out_beside_other_firewalls_or_are_told_what_to_type() {
    let installed = Installed::with_image();
    let world = World::beside_the_host();
    let before = Host::look();
    let _ = installed.banger(["vm", "run", "-d", "--name", VMS, "--memory", "512M"]).run().expect_success();
    let mut checks = Checks::new();
    let root = |line: &str| installed.as_root(&line.split(' ').collect::<Vec<_>>());

    checks.check("NAT is a rule for the guest that is there, is there once, and goes", || {
        let address =
            installed.json(&["vm", "show", VMS])["address"].as_str().expect("an address").to_owned();
        let rules = || {
            let told = root("nft list set inet banger nat").expect_success();
            told.stdout_text().matches(&address).count()
        };
        assert_eq!((rules(), heard(&installed).as_str()), (0, "nothing"));
        for _ in 0..2 {
            let _ = set_nat(&installed, "on").expect_success();
            assert_eq!(rules(), 1, "{}", root("nft list ruleset").stdout_text());
        }
        assert_eq!(heard_in_time(&installed), "the world to 203.0.113.1", "its packets leave as the host's");
        let _ = set_nat(&installed, "off").expect_success();
        assert_eq!((rules(), heard(&installed).as_str()), (0, "nothing"));
    });
    checks.check(
        "it reaches neither the host's servers, nor private networks, nor metadata, with NAT or without",
        || {
            let bridge = "172.16.0.1/8081";
            let ends = [bridge, "203.0.113.1/8081", "10.1.1.1/80", "169.254.169.254/80"];
            let _ = set_nat(&installed, "on").expect_success();
            assert_eq!(guest_hears(&installed, VMS, &ends), ["nothing"; 4]);
            let _ = set_nat(&installed, "off").expect_success();
            assert_eq!(guest_hears(&installed, VMS, &ends), ["nothing"; 4]);
        },
    );
    checks.check("an administrator's table that drops what is forwarded is named with the commands that let guests through", || {
        let _ = root("nft add table inet strict").expect_success();
        let chain = "{ type filter hook forward priority 0 ; policy drop ; }";
        let _ = installed.as_root(&["nft", "add", "chain", "inet", "strict", "forward", chain]).expect_success();
        let failed = set_nat(&installed, "on").expect_failure(&["the chain `forward` of the table `inet strict`"]);
        let run = installed.banger(["vm", "run", "--rm", "--nat", "--memory", "512M", "--", "true"]).run();
        let run = run.expect_failure(&["sudo nft insert rule inet strict forward iifname br-banger accept"]);
        assert_eq!(hint(&run.stderr_text()), hint(&failed.stderr_text()));
        let doctor = installed.banger(["doctor"]).run();
        assert!(doctor.stdout_text().contains("WARN  other firewalls: the chain `forward` of the table `inet strict`"), "{}", doctor.stdout_text());
        type_it(&installed, &hint(&failed.stderr_text()));
        let _ = set_nat(&installed, "on").expect_success();
        assert_eq!(heard_in_time(&installed), "the world to 203.0.113.1");
        let _ = set_nat(&installed, "off").expect_success();
        let _ = root("nft delete table inet strict").expect_success();
    });
    // Docker drops what is forwarded where nobody forwarded before it.
    let docker = "sysctl -q -w net.ipv4.ip_forward=0 && systemctl start docker.service";
    // Who asks firewalld how it is gets the answer when its rules are in force.
    let firewalld = "systemctl start firewalld.service && firewall-cmd --quiet --state";
    for (sentence, firewall, units, begin) in [
        ("beside a firewalld that runs", "firewalld", &["firewalld.service"][..], firewalld),
        (
            "beside a Docker that runs",
            "docker",
            &["docker.service", "docker.socket", "containerd.service"],
            docker,
        ),
    ] {
        checks.check(sentence, || {
            let _foreign = Foreign::begin(&installed, units, begin);
            let choose = format!("sudo banger system install --firewall={firewall}");
            let failed = set_nat(&installed, "on").expect_failure(&[&choose]);
            type_it(&installed, &hint(&failed.stderr_text()));
            let _ = set_nat(&installed, "on").expect_success();
            assert_eq!(heard_in_time(&installed), "the world to 203.0.113.1");
            let ends = ["203.0.113.1/8081", "172.16.0.1/8081"];
            assert_eq!(guest_hears(&installed, VMS, &ends), ["nothing"; 2]);
            // Nothing chosen leaves it as it is, as an upgrade does.
            let _ = installed.install(&[]).expect_success();
            assert_eq!(heard_in_time(&installed), "the world to 203.0.113.1");
            let _ = set_nat(&installed, "off").expect_success();
            let _ = installed.install(&["--firewall", "none"]).expect_success();
            let _ = set_nat(&installed, "on").expect_failure(&[&choose]);
        });
    }
    let _ = installed.banger(["vm", "delete", VMS]).run().expect_success();
    checks.check("nothing of ours is left among the rules of others", || {
        let _ = installed.system(&["uninstall", "--purge"]).expect_success();
        let now = root("nft list ruleset").expect_success();
        assert!(!now.stdout_text().contains("banger"), "{}", now.stdout_text());
        let zones = std::fs::read_to_string("/etc/firewalld/zones/trusted.xml").unwrap_or_default();
        assert!(!zones.contains("banger"), "{zones}");
        drop(before);
    });
    drop(world);
    checks.finish();
}
