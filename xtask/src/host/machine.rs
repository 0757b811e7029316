//! The machine the host runs on: an emulated processor with SVM, so that KVM works in it wherever it is run.
//!
//! A host lives in a folder of its own: its monitor's socket, its console, and the overlay that takes what it
//! writes. It reaches nothing, and is reached by ssh on a loopback port that the kernel chooses. When it ends,
//! everything it wrote is gone.

use super::image::Image;
use super::monitor::{self, Monitor};
use super::space;
use crate::place::Place;
use crate::tool::{Tool, search};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// Kernel messages and systemd's; no getty ever garbles it.
pub(super) const CONSOLE: &str = "console.log";
/// What QEMU itself complains about.
const LOG: &str = "qemu.log";
/// The second serial port, on which the host says when commands can be run.
const READY: &str = "ready";
/// The bus that [`super::given`] plugs disks into.
pub(super) const FREE_SLOT: &str = "free-slot";

/// Half a minute on a machine at leisure; a busy one takes many times that.
const BOOT_LIMIT: Duration = Duration::from_secs(900);
const START_LIMIT: Duration = Duration::from_secs(30);
const CONSOLE_LINES_SHOWN: usize = 30;
/// What a host may write before it meets the end of the real disk.
const SPACE: u64 = 2 << 30;

/// What can be chosen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) memory_mib: u32,
    pub(super) processors: u32,
    /// Whether an ordinary user may make user namespaces, as on Debian, or not, as where they were turned off.
    pub(super) user_namespaces: bool,
}

impl Default for Size {
    fn default() -> Self {
        // More than one, and emulated SVM confuses the kernel of a quiet host after some minutes.
        Self { memory_mib: 6144, processors: 1, user_namespaces: true }
    }
}

/// When the host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// When it is told to.
    Told,
    /// Together with this program, however that ends.
    ThisProgramEnds,
}

/// Boots and returns when commands can be run in it. On failure nothing is left running.
pub(super) fn boot(place: &Place, folder: &Path, image: &Image, size: Size, until: Until) -> Result<Child> {
    if search(place, QEMU).is_none() {
        bail!("`{QEMU}` is not installed (`cargo xtask setup` installs what is missing)");
    }
    space::expect(place, folder, SPACE)?;
    println!("host: booting {} processors and {} MiB, all in software", size.processors, size.memory_mib);
    let begun = Instant::now();
    let log = File::create(folder.join(LOG)).context("making the log of QEMU")?;
    let qemu = match until {
        Until::Told => Tool::find(place, QEMU)?.own_group(),
        Until::ThisProgramEnds => Tool::find(place, "setpriv")?.args(["--pdeathsig", "KILL", QEMU]),
    };
    let mut child =
        qemu.args(arguments(image, size)).current_dir(folder).env("TMPDIR", folder).start(&log)?;
    match wait_until_ready(folder, &mut child, begun + BOOT_LIMIT) {
        Ok(()) => {
            println!("host: up after {} s", begun.elapsed().as_secs());
            Ok(child)
        }
        Err(error) => {
            end(&mut child)?;
            bail!("the host did not come up: {error:#}\n{}", last_words(folder))
        }
    }
}

/// What QEMU and the host said last.
pub(super) fn last_words(folder: &Path) -> String {
    let said = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let console = fs::read(folder.join(CONSOLE)).unwrap_or_default();
    format!(
        "QEMU said:\n{}the console's end:\n{}",
        last_lines(&without_missing_features(&said)),
        last_lines(&String::from_utf8_lossy(&console)),
    )
}

/// Ends a child of ours, gone already or not.
pub(super) fn end(child: &mut Child) -> Result<ExitStatus> {
    match child.kill() {
        Err(error) if error.kind() != ErrorKind::InvalidInput => return Err(error).context("ending QEMU"),
        _ => {}
    }
    child.wait().context("waiting for QEMU to end")
}

/// The arguments, with names relative to the host's folder where sockets and logs lie.
fn arguments(image: &Image, size: Size) -> Vec<String> {
    let mut command_line =
        "console=ttyS0 root=/dev/vda rw quiet systemd.show_status=true TERM=dumb mitigations=off panic=1"
            .to_owned();
    if !size.user_namespaces {
        command_line.push_str(" sysctl.kernel.unprivileged_userns_clone=0");
    }
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    // A comma in a value is written twice.
    let disk = path(image.disk()).replace(',', ",,");
    [
        ("-name", "banger-test-host".to_owned()),
        ("-machine", "q35".to_owned()),
        ("-accel", "tcg,thread=multi,tb-size=1024".to_owned()),
        ("-cpu", "EPYC,+svm,+npt".to_owned()),
        ("-smp", size.processors.to_string()),
        ("-m", size.memory_mib.to_string()),
        ("-kernel", path(image.kernel())),
        ("-initrd", path(image.initrd())),
        ("-append", command_line),
        ("-drive", format!("file={disk},format=raw,if=virtio,cache=unsafe,snapshot=on")),
        ("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22".to_owned()),
        ("-device", "virtio-net-pci,netdev=net".to_owned()),
        ("-device", "virtio-rng-pci".to_owned()),
        ("-device", format!("pcie-root-port,id={FREE_SLOT},chassis=1,slot=1")),
        ("-display", "none".to_owned()),
        ("-serial", format!("file:{CONSOLE}")),
        ("-serial", format!("unix:{READY},server=on,wait=off")),
        ("-qmp", format!("unix:{},server=on,wait=off", monitor::SOCKET)),
        // A kernel that panics ends QEMU, which is noticed at once.
        ("-action", "reboot=shutdown".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

fn wait_until_ready(folder: &Path, child: &mut Child, deadline: Instant) -> Result<()> {
    let mut ready = wait_for_socket(folder, child)?;
    let mut byte = [0];
    ready
        .set_read_timeout(Some(
            deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
        ))
        .context("limiting how long the host may take to boot")?;
    match ready.read(&mut byte) {
        Ok(0) => bail!("it ended while it booted"),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bail!("it ended while it booted"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("it was not up after {} s", BOOT_LIMIT.as_secs())
        }
        Err(error) => Err(error).context("waiting for the host"),
    }
}

/// QEMU makes its sockets a moment after it was started, or ends because of something it was told.
fn wait_for_socket(folder: &Path, child: &mut Child) -> Result<std::os::unix::net::UnixStream> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(stream) = monitor::connect(folder, READY)? {
            return Ok(stream);
        }
        if let Some(status) = child.try_wait().context("looking whether QEMU runs")? {
            bail!("QEMU did not start ({status})");
        }
        ensure!(Instant::now() < deadline, "QEMU opened no socket within {} s", START_LIMIT.as_secs());
        #[expect(clippy::disallowed_methods, reason = "looks again, with a deadline")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The port at which ssh is reached.
pub(super) fn ssh_port(monitor: &mut Monitor) -> Result<u16> {
    let said = monitor.ask("info usernet")?;
    forwarded_port(&said).with_context(|| format!("QEMU forwards no port:\n{said}"))
}

/// In `  TCP[HOST_FORWARD]  13       127.0.0.1 34171       10.0.2.15    22     0     0` the fourth word.
fn forwarded_port(usernet: &str) -> Option<u16> {
    let line = usernet.lines().find(|line| line.contains("HOST_FORWARD"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// QEMU names every feature of an EPYC that it does not emulate, at each start. They do not matter here.
fn without_missing_features(log: &str) -> String {
    let lines = log.lines().filter(|line| !line.contains("TCG doesn't support requested feature"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(CONSOLE_LINES_SHOWN)..];
    shown.iter().map(|line| format!("  {}\n", line.trim_end().escape_debug())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(size: Size) -> String {
        arguments(&Image::named(Path::new("/cache, of jo"), "0123"), size).join(" ")
    }

    #[test]
    fn a_host_reaches_nothing_and_never_writes_to_the_disk_it_was_made_from() {
        let line = line(Size::default());
        assert!(line.contains("restrict=on,hostfwd=tcp:127.0.0.1:0-:22"), "{line}");
        assert!(line.contains("file=/cache,, of jo/images/0123/disk.img,format=raw"), "{line}");
        assert!(line.contains("snapshot=on"), "{line}");
    }

    #[test]
    fn sizes_and_the_ban_on_user_namespaces_are_passed_on() {
        let size = Size { memory_mib: 4096, processors: 3, user_namespaces: false };
        let line = line(size);
        assert!(line.contains("-smp 3 -m 4096 "), "{line}");
        assert!(line.contains("unprivileged_userns_clone=0"), "{line}");
        assert!(!super::tests::line(Size::default()).contains("unprivileged_userns_clone"));
    }

    #[test]
    fn the_port_that_the_kernel_chose_is_found() {
        let said = "Hub -1 (net):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
                    TCP[HOST_FORWARD]  13       127.0.0.1 34171       10.0.2.15    22     0     0\n";
        assert_eq!(forwarded_port(said), Some(34171));
        assert_eq!(forwarded_port("Hub -1 (net):\n"), None);
    }

    #[test]
    fn a_failure_shows_the_end_of_what_was_said_and_not_what_says_nothing() {
        let log = "qemu: warning: TCG doesn't support requested feature: x\nqemu: no such disk\n";
        assert_eq!(without_missing_features(log), "qemu: no such disk\n");
        let long: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(last_lines(&long).lines().count(), CONSOLE_LINES_SHOWN);
        assert!(last_lines("\x1b[31mred\n").starts_with("  \\u{1b}[31mred"));
    }
}
