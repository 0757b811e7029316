//! Running nft.

use crate::tool::Tool;
use std::io;
use std::time::Duration;

pub(super) const HINT: &str = "Debian: sudo apt install nftables · Fedora: sudo dnf install nftables · \
                               Arch: sudo pacman -S nftables";

/// It begins again whenever somebody else has changed the rules meanwhile, and a host may have many of them.
const LIMIT: Duration = Duration::from_secs(30);

/// Gives nft a ruleset to put in place, and returns what it had to say. Whether it did is for the kernel to tell.
pub(super) fn apply(nft: &str, rules: &str) -> io::Result<String> {
    Tool { path: nft, limit: LIMIT }.complaint_about(&["-f", "-"], rules)
}
