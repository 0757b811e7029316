//! `pasta`, which carries what leaves the guests' network, in local mode: it makes connections on the host, as the
//! user, for packets that come out of the helper's namespace.
//!
//! It is started by us and from outside: inside, it has no host to make connections on. It outlives both daemons, which
//! guests are to outlive too, and even the namespace it served. So it has to be found again: one of its arguments is
//! a path in our state folder, which is nobody else's.

use crate::process::identify;
use banger_protocol::root_api::{EGRESS_LINK, ProcessIdentity};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// It only makes a link, and then goes on in the background.
const START_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum PastaError {
    #[error("pasta was not run")]
    Run(#[source] io::Error),
    #[error("pasta refused: {0}")]
    Refused(String),
    #[error("pasta did nothing for {} s", START_LIMIT.as_secs())]
    Silent,
    #[error("pasta ended as soon as it had begun")]
    Gone,
    #[error("pasta, process {0}, did not exit after SIGKILL")]
    Unkillable(u32),
}

/// Who it is and where it lies.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it writes its number. By this argument it is found.
    pub mark: PathBuf,
    /// What it says until it is in the background.
    pub log: PathBuf,
}

/// Starts it for the network namespace of a process, and returns when its link is there.
pub(crate) fn start(program: &Path, place: &Place, namespace_of: u32) -> Result<ProcessIdentity, PastaError> {
    let log = File::create(&place.log).map_err(PastaError::Run)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "an absolute path, our own arguments, a cleared environment"
    )]
    let mut command = Command::new(program);
    command.args(arguments(rustix::process::geteuid().is_root())).arg("--pid").arg(&place.mark);
    command.arg(namespace_of.to_string()).env_clear().env("LC_MESSAGES", "C").current_dir("/");
    let output = log.try_clone().map_err(PastaError::Run)?;
    let mut child =
        command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().map_err(PastaError::Run)?;
    let process = identify(child.id());
    if process.is_some_and(|process| !crate::process::ends_within(process, START_LIMIT)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(PastaError::Silent);
    }
    if !child.wait().map_err(PastaError::Run)?.success() {
        let said = std::fs::read_to_string(&place.log).unwrap_or_default();
        return Err(PastaError::Refused(said.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    find(&place.mark).pop().ok_or(PastaError::Gone)
}

/// Without the ways in that it opens unless told not to: ports of the namespace on the host (`-t -u`), ports of the
/// host's loopback in the namespace (`-T -U`), and the host itself in the place of the gateway. The addresses are those
/// that RFC 7335 has for such a link, since any of the host's could be in use beside it. Naming the loopback as the
/// interface to copy from keeps it from asking for one with a default route, which a host has today and not tomorrow.
///
/// What root runs it would else run as `nobody`, who may not enter the namespace; it gives up root's rights by itself.
fn arguments(as_root: bool) -> Vec<&'static str> {
    let mut all = vec!["--quiet", "--ipv4-only", "--config-net", "--ns-ifname", EGRESS_LINK];
    all.extend(["--interface", "lo", "--mac-addr", "02:00:00:00:00:01"]);
    all.extend(["--address", "192.0.0.2", "--netmask", "29", "--gateway", "192.0.0.1"]);
    all.extend(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"]);
    if as_root {
        all.extend(["--runas", "0:0"]);
    }
    all
}

/// Every living one of ours.
pub(crate) fn find(mark: &Path) -> Vec<ProcessIdentity> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: &ProcessIdentity| {
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.pid)).unwrap_or_default();
        bears(&command_line, mark) && identify(pid.pid) == Some(*pid)
    };
    // Who it is comes first: what is read in between then belongs to it.
    pids.filter_map(identify).filter(ours).collect()
}

/// Whether a command line is that of a pasta with this mark.
fn bears(command_line: &[u8], mark: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let mut words = command_line.split(|byte| *byte == 0);
    // `pasta`, or `pasta.avx2` when it has found a processor for that.
    let program = words.next().and_then(|word| word.rsplit(|byte| *byte == b'/').next()).unwrap_or_default();
    let words: Vec<&[u8]> = words.collect();
    program.starts_with(b"pasta")
        && words.windows(2).any(|pair| pair[0] == b"--pid" && pair[1] == mark.as_os_str().as_bytes())
}

/// Ends it and waits until it is gone, its link with it.
pub(crate) fn end(process: ProcessIdentity) -> Result<(), PastaError> {
    crate::process::kill(process);
    if crate::process::ends_within(process, END_LIMIT) {
        Ok(())
    } else {
        Err(PastaError::Unkillable(process.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasta_is_ours_by_its_mark() {
        let mark = Path::new("/home/me/state/egress.pid");
        let is_ours = |words: &str| bears(words.replace(' ', "\0").as_bytes(), mark);
        assert!(is_ours("/usr/bin/pasta --quiet --pid /home/me/state/egress.pid 7 "));
        assert!(is_ours("pasta.avx2 --quiet --pid /home/me/state/egress.pid 7 "));
        for other in [
            "",
            "pasta --quiet --pid /home/you/state/egress.pid 7 ",
            "pasta --quiet --pid /home/me/state/egress.pid2 7 ",
            "pasta --pcap /home/me/state/egress.pid 7 ",
            "less /home/me/state/egress.pid ",
            "sh --pid /home/me/state/egress.pid ",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn nothing_of_the_host_is_opened_to_guests() {
        let all = arguments(false).join(" ");
        for closed in ["-t none", "-u none", "-T none", "-U none", "--no-map-gw", "--ipv4-only"] {
            assert!(all.contains(closed), "{closed} is missing: {all}");
        }
        assert!(!all.contains("--runas"));
    }
}
