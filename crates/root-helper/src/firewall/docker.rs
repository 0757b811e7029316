//! What an administrator had banger add to Docker's rules, added again where the host has forgotten it: a rule lives until
//! the host ends, and what the install file says of it longer.
//!
//! Nothing is added but the two rules of [`docker::rules`], and those only while a chain of Docker's is seen to stop
//! guests. Whether that helped is seen by whoever looks at other firewalls next, as at every start of a guest with NAT.

use super::foreign;
use banger_protocol::root_api::{ForeignKind, Settings};
use banger_system::docker;
use std::io;
use std::process::Command;
use std::time::Duration;

const IPTABLES: &str = "/usr/sbin/iptables";
/// It waits for others' turn for ten seconds.
const LIMIT: Duration = Duration::from_secs(15);

/// Says whether anything had to be added.
pub(crate) fn add_again(settings: &Settings) -> io::Result<bool> {
    if !foreign::closed(settings)?.iter().any(|chain| chain.kind == ForeignKind::Docker) {
        return Ok(false);
    }
    // One of the two may be there, and would be there twice: the kernel collects our children, so nobody is told whether
    // `-C` found it. While one is missing nothing gets through anyway.
    for verb in ["-D", "-I"] {
        for words in docker::rules(verb, &settings.bridge) {
            run(&words)?;
        }
    }
    Ok(true)
}

fn run(words: &[String]) -> io::Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "an absolute path, words of our own, a cleared environment"
    )]
    let mut command = Command::new(IPTABLES);
    command.args(words).env_clear().env("LC_MESSAGES", "C").current_dir("/");
    foreign::told_by(&mut command, LIMIT).map(drop)
}
