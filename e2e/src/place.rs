//! Other surroundings for banger than this machine's, in namespaces of the test's own.
//!
//! [`Place::with_a_world`] is a host with a world around it, so no packet of its guests comes anywhere near this one.
//! All addresses but the private ones are documentation's (RFC 5737):
//!
//! ```text
//!  host                                 world
//!  127.0.0.1:8080  a secret             198.51.100.7:80   what anybody may ask
//!  203.0.113.1:8081 on every address ── 10.1.1.1:80       somebody's private network
//! ```

use rustix::process::geteuid;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Answers whoever connects with a word.
const SERVER: &str = "use IO::Socket::INET; $| = 1; $SIG{PIPE} = 'IGNORE'; my ($address, $port, $word) = @ARGV; \
                      my $s = IO::Socket::INET->new(Listen => 8, LocalAddr => $address, LocalPort => $port, ReuseAddr => 1) \
                      or die $!; print \"up\\n\"; while (my $c = $s->accept) { print $c \"$word\\n\" }";
const IDLE: &str = "$| = 1; print \"up\\n\"; sleep 3600";

/// The namespaces and who serves in them, until this is dropped.
#[derive(Debug)]
pub struct Place {
    host: Served,
    _others: Vec<Served>,
}

impl Place {
    /// A machine that lacks a program.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn without(program: &str) -> Self {
        let cover = format!("mount --bind /dev/null \"$(command -v {program})\" && exec perl -e \"$0\"");
        Self { host: Served::unshared("m", &["sh", "-c", &cover, IDLE]), _others: Vec::new() }
    }

    /// A machine whose images and kernels lie on a disk with no room for another.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_small_disk(state: &Path) -> Self {
        // It holds what is there already, and 48 KiB.
        let script = "for f in images kernels; do cp -a --sparse=always $1/$f $1/$f.all; \
                      size=$(( $(du -sk $1/$f | cut -f1) + 48 )); \
                      mount -t tmpfs -o size=${size}k,mode=700 none $1/$f; cp -a --sparse=always $1/$f.all/. $1/$f; \
                      rm -r $1/$f.all; done; exec perl -e \"$0\"";
        Self::shaped(script, state)
    }

    /// A machine whose images and kernels lie on a disk that nobody may write to.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_read_only(state: &Path) -> Self {
        let script = "for f in images kernels; do mount --bind $1/$f $1/$f; mount -o remount,bind,ro $1/$f; done; \
                      exec perl -e \"$0\"";
        Self::shaped(script, state)
    }

    /// A machine whose cache is a disk with 512 KiB.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_small_cache(cache: &Path) -> Self {
        Self::shaped(
            "mkdir -p $1 && mount -t tmpfs -o size=512k,mode=700 none $1 && exec perl -e \"$0\"",
            cache,
        )
    }

    /// A machine whose cache nobody may write to.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_read_only_cache(cache: &Path) -> Self {
        let script =
            "mkdir -p -m 700 $1 && mount --bind $1 $1 && mount -o remount,bind,ro $1 && exec perl -e \"$0\"";
        Self::shaped(script, cache)
    }

    fn shaped(script: &str, state: &Path) -> Self {
        let host = Served::unshared("m", &["sh", "-c", script, IDLE, &state.display().to_string()]);
        Self { host, _others: Vec::new() }
    }

    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_a_world() -> Self {
        let host = Served::unshared("n", &["perl", "-e", IDLE]);
        let world = host.inside(&["unshare", "-n", "--", "perl", "-e", IDLE]);
        let there = world.child.id();
        for setting in [
            "link set lo up",
            &format!("link add up0 type veth peer name down0 netns {there}"),
            "address add 203.0.113.1/24 dev up0",
            "link set up0 up",
            "route add default via 203.0.113.2",
        ] {
            host.ip(setting);
        }
        for setting in [
            "link set lo up",
            "address add 203.0.113.2/24 dev down0",
            "address add 198.51.100.7/32 dev down0",
            "address add 10.1.1.1/32 dev down0",
            "link set down0 up",
        ] {
            world.ip(setting);
        }
        let serve =
            |place: &Served, at: [&str; 3]| place.inside(&[&["perl", "-e", SERVER], &at[..]].concat());
        let servers = [
            serve(&world, ["0.0.0.0", "80", "the world"]),
            serve(&host, ["127.0.0.1", "8080", "a secret"]),
            serve(&host, ["0.0.0.0", "8081", "the host"]),
        ];
        Self { host, _others: servers.into_iter().chain([world]).collect() }
    }

    /// What makes `nsenter` run a program on that host.
    pub(crate) fn entrance(&self) -> Vec<String> {
        self.host.entrance()
    }
}

/// A process that is there until this is dropped, and with it its namespaces.
#[derive(Debug)]
struct Served {
    child: Child,
    /// Letters of the namespaces it has of its own, as `unshare` and `nsenter` know them.
    own: String,
}

impl Served {
    /// In a namespace of its own. Who is not root becomes root of a namespace of users.
    fn unshared(kind: &str, command: &[&str]) -> Self {
        let (flags, own) = match geteuid().is_root() {
            true => (format!("-{kind}"), kind.to_owned()),
            false => (format!("-r{kind}"), format!("U{kind}")),
        };
        Self::start(&own, "unshare", &[&[flags.as_str(), "--"], command].concat())
    }

    /// Returns when it has said that it is up.
    fn start(own: &str, program: &str, arguments: &[&str]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test's own tools")]
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: `cargo xtask setup`"));
        let mut served = Self { child, own: own.to_owned() };
        let stdout = served.child.stdout.as_mut().expect("it is piped");
        let mut word = String::new();
        BufReader::new(stdout).read_line(&mut word).expect("it can be read");
        assert_eq!(word, "up\n", "{program} {arguments:?}");
        served
    }

    fn entrance(&self) -> Vec<String> {
        let pid = self.child.id().to_string();
        // Each by itself: what follows a letter is taken for the name of a file.
        let flags = self.own.chars().map(|letter| format!("-{letter}"));
        let target = ["-t".to_owned(), pid];
        let rest = ["--preserve-credentials", "--"].map(str::to_owned);
        target.into_iter().chain(flags).chain(rest).collect()
    }

    /// Another in its namespaces.
    fn inside(&self, command: &[&str]) -> Self {
        let entrance = self.entrance();
        let words: Vec<&str> = entrance.iter().map(String::as_str).chain(command.iter().copied()).collect();
        Self::start(&self.own, "nsenter", &words)
    }

    fn ip(&self, setting: &str) {
        let entrance = self.entrance();
        #[expect(clippy::disallowed_methods, reason = "the test's own tools")]
        let mut command = Command::new("nsenter");
        command.args(entrance).arg("ip").args(setting.split(' '));
        let status = command.status().unwrap_or_else(|error| panic!("nsenter: {error}: `cargo xtask setup`"));
        assert!(status.success(), "ip {setting}: {status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
