//! What an administrator had banger add to Docker's rules, added again where the host has forgotten it: a rule lives until
//! the host ends, and what the install file says of it longer.
//!
//! Nothing is added but the two rules of [`docker::rules`], and those only while a chain of Docker's is seen to stop
//! guests. Whether that helped is seen by whoever looks at other firewalls next, as at every start of a guest with NAT.

use super::foreign;
use crate::tool::Tool;
use banger_protocol::root_api::{ForeignKind, Settings};
use banger_system::docker;
use std::io;
use std::time::Duration;

/// It waits for others' turn for ten seconds.
const IPTABLES: Tool<'_> = Tool { path: "/usr/sbin/iptables", limit: Duration::from_secs(15) };

/// Says whether anything had to be added.
pub(crate) fn add_again(settings: &Settings) -> io::Result<bool> {
    if !foreign::closed(settings)?.iter().any(|chain| chain.kind == ForeignKind::Docker) {
        return Ok(false);
    }
    // One of the two may be there, and would be there twice: the kernel collects our children, so nobody is told whether
    // `-C` found it. While one is missing nothing gets through anyway.
    for verb in ["-D", "-I"] {
        for words in docker::rules(verb, &settings.bridge) {
            IPTABLES.answer(&words)?;
        }
    }
    Ok(true)
}
