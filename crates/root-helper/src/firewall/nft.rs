//! Running nft.

use crate::sys::spawn::making_a_child;
use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};

pub(super) const HINT: &str = "Debian: sudo apt install nftables · Fedora: sudo dnf install nftables · \
                               Arch: sudo pacman -S nftables";

/// Longest complaint that is passed on, in bytes; nft repeats the rules it does not like.
const LONGEST: usize = 2000;

/// Gives nft a ruleset to put in place, and returns what it had to say. Whether it did is for the kernel to tell.
pub(super) fn apply(nft: &str, rules: &str) -> io::Result<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "an absolute path of the settings, no arguments of others, a cleared environment"
    )]
    let mut command = Command::new(nft);
    command.args(["-f", "-"]).env_clear().env("LC_MESSAGES", "C").current_dir("/");
    let making = making_a_child();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    drop(making);
    let mut said = Vec::new();
    // It reads to the end before it says anything, and one that ends early is told by what it said.
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(rules.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error);
    }
    if let Some(stderr) = child.stderr.take() {
        stderr.take(LONGEST as u64).read_to_end(&mut said)?;
    }
    // Its end is waited for, and nothing is told of it: the kernel collects our children (SIGCHLD ignored).
    let _ = child.wait();
    Ok(String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "))
}
