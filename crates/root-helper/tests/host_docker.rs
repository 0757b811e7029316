//! Docker's rules, as they are after the host was booted: without what an administrator had banger add to them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::ids::VmId;
use banger_protocol::root_api::{FirewallForeign, ForeignKind, NetworkEnsure, TapCreate, TapDelete};
use harness::installed::Installed;
use harness::run;

const NAME: &str = "docker";

/// In the helper's network; what was told.
fn there(words: &[&str]) -> String {
    let done = run("ip", &[&["netns", "exec", NAME], words].concat());
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn iptables(words: &str) -> String {
    there(&["iptables", "-w", "10"].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
}

/// How often banger's two rules are among Docker's.
fn ours() -> [usize; 2] {
    let rules = iptables("-S DOCKER-USER");
    ["-i", "-o"].map(|direction| {
        let rule = format!("{direction} br-banger -m comment --comment banger -j ACCEPT");
        rules.lines().filter(|line| line.ends_with(&rule)).count()
    })
}

#[test]
fn what_was_added_to_dockers_rules_is_added_again_for_a_guest_with_nat_and_once() {
    let installed = Installed::start(NAME);
    for words in
        ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-I FORWARD -j DOCKER-USER"]
    {
        iptables(words);
    }
    // Docker has switched it on, too; and so there is nothing to be noted for the real host.
    there(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    let mut connection = installed.connect();
    connection.call(&NetworkEnsure { barred: [].into() }).unwrap();
    let closed = connection.call(&FirewallForeign {}).unwrap();
    assert_eq!(closed.iter().map(|chain| chain.kind).collect::<Vec<_>>(), [ForeignKind::Docker]);

    let vm = VmId::random();
    let mut tap = |nat| {
        let request = TapCreate { vm: vm.clone(), address: [172, 16, 0, 2].into(), nat };
        connection.call(&request).unwrap();
    };
    tap(false);
    assert_eq!(ours(), [0, 0], "nobody wants to get out");
    for _ in 0..2 {
        tap(true);
        assert_eq!(ours(), [1, 1]);
    }
    iptables("-D DOCKER-USER -o br-banger -m comment --comment banger -j ACCEPT");
    tap(true);
    assert_eq!(ours(), [1, 1], "one was gone");
    assert!(connection.call(&FirewallForeign {}).unwrap().is_empty());

    // The older kind of rules, which the kernel keeps apart.
    there(&["iptables-legacy", "-P", "FORWARD", "DROP"]);
    let unknown = connection.call(&FirewallForeign {}).unwrap_err();
    assert!(format!("{unknown:?}").contains("sudo iptables-legacy -S FORWARD"), "{unknown:?}");
    connection.call(&TapDelete { vm }).unwrap();
}
