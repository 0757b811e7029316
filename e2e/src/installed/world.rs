//! A world beside the test host, in a network namespace: the host routes to it, and forwards what guests send there.
//!
//! ```text
//!  guest ── br-banger ── the host ── up0 203.0.113.1 ── 203.0.113.2 ── 198.51.100.7:80  what anybody may ask
//!                        :8081 on every address                        10.1.1.1:80      somebody's private network
//! ```

use super::{Installed, sudo};
use crate::{Invocation, Running};
use std::path::Path;

/// Answers whoever connects with a word, and says where they come from.
const SERVER: &str = "use IO::Socket::INET; $| = 1; $SIG{PIPE} = 'IGNORE'; my ($port, $word) = @ARGV; \
                      my $s = IO::Socket::INET->new(Listen => 8, LocalAddr => '0.0.0.0', LocalPort => $port, ReuseAddr => 1) \
                      or die $!; print \"up\\n\"; while (my $c = $s->accept) { print $c \"$word to \" . $c->peerhost . \"\\n\" }";
const NAMESPACE: &str = "world";

/// It is there until this is dropped.
#[derive(Debug)]
pub struct World {
    _servers: [Running; 2],
}

impl World {
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn beside_the_host() -> Self {
        for setting in [
            "netns add world",
            "link add up0 type veth peer name down0 netns world",
            "address add 203.0.113.1/24 dev up0",
            "link set up0 up",
            "route add 198.51.100.0/24 via 203.0.113.2",
            "route add 10.1.1.0/24 via 203.0.113.2",
            "-n world link set lo up",
            "-n world address add 203.0.113.2/24 dev down0",
            "-n world address add 198.51.100.7/32 dev down0",
            "-n world address add 10.1.1.1/32 dev down0",
            "-n world link set down0 up",
            "-n world route add default via 203.0.113.1",
        ] {
            let words: Vec<&str> = ["ip"].into_iter().chain(setting.split(' ')).collect();
            let _ = sudo(&words).expect_success();
        }
        let serve = |place: &[&str], port: &str, word: &str| {
            let words = [&["--non-interactive", "--"], place, &["perl", "-e", SERVER, port, word]].concat();
            let mut server = Invocation::new(Path::new("/usr/bin/sudo"), words).start();
            server.wait_for("up\n");
            server
        };
        let there = ["ip", "netns", "exec", NAMESPACE];
        Self { _servers: [serve(&there, "80", "the world"), serve(&[], "8081", "the host")] }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whoever serves there, and the one on the host by what it listens on.
        let end = "for pid in $(ip netns pids world) $(ss -Hltnp 'sport = :8081' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p'); do \
                   kill $pid; done; ip netns delete world; ip link delete up0";
        let _ = sudo(&["sh", "-c", end]);
    }
}

/// What a guest hears at each of these addresses and ports, asked at once; `nothing` where nobody answers.
#[must_use]
pub fn guest_hears(installed: &Installed, vm: &str, ends: &[&str]) -> Vec<String> {
    let ask = "for end; do timeout 5 bash -c \"cat < /dev/tcp/$end\" > /tmp/${end////-} 2>/dev/null || \
               echo nothing > /tmp/${end////-} & done; wait; for end; do cat /tmp/${end////-}; done";
    let told = installed.exec(vm, &[&["bash", "-c", ask, "bash"], ends].concat()).expect_success();
    told.stdout_text().lines().map(str::to_owned).collect()
}
