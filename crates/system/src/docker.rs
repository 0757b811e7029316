//! The rules among Docker's that let guests through. Pure.
//!
//! `DOCKER-USER` is a chain that Docker jumps to before any rule of its own, and leaves to administrators: it survives
//! Docker's restarts, and not the host's. `banger system install` adds the rules and takes them back, with the
//! administrator's consent; the helper adds them again where the host has forgotten them.

/// By which a rule of ours is known among others'.
const MARK: &str = "banger";

/// What iptables(8) is told to look for (`-C`), insert (`-I`) or delete (`-D`) both: one rule for what comes from the
/// bridge, and one for what goes there.
#[must_use]
pub fn rules(verb: &str, bridge: &str) -> [Vec<String>; 2] {
    ["-i", "-o"].map(|direction| {
        let rule = format!("{direction} {bridge} -m comment --comment {MARK} -j ACCEPT");
        let words = format!("-w 10 {verb} DOCKER-USER {rule}");
        words.split(' ').map(str::to_owned).collect()
    })
}
