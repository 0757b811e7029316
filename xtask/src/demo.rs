//! A command in a real guest, for somebody who has just cloned this.
//!
//! It uses the same folders as the user's own banger, so the image that the first run builds is there for
//! everything that follows. What runs in the background is ended before, so that the programs just built answer,
//! and ended after, so that nothing is left running; other VMs go on undisturbed either way.

use crate::place::Place;
use crate::tool::Tool;
use crate::{build, setup};
use anyhow::{Context as _, Result, anyhow};
use std::path::Path;
use std::time::Instant;

/// Its last line is read by [`Told::by`]: seconds since the guest's kernel started.
const IN_THE_GUEST: &str = r#"
. /etc/os-release
echo "hello from $PRETTY_NAME, kernel $(uname -r), process $$"
echo "machine: $(systemd-detect-virt || true), $(nproc) CPU, $(free -m | awk '/^Mem:/ { print $2 }') MiB"
read -r up rest </proc/uptime
echo "booted: $up s"
"#;

pub(crate) fn run(place: &Place) -> Result<()> {
    setup::to_run(place)?;
    let folder = build::all(place, build::Profile::Release)?;
    let banger = |arguments: &[&str]| banger(place, &folder, arguments);

    banger(&["daemon", "stop"]).succeeds()?;
    println!("demo: banger vm run --rm -- sh -c '…'   (the first time also builds an image and a kernel)");
    let begun = Instant::now();
    let outcome = banger(&["vm", "run", "--rm", "--", "sh", "-c", IN_THE_GUEST]).tee_stdout();
    let took = begun.elapsed();
    banger(&["daemon", "stop"]).succeeds()?;

    // What went wrong was said in full view; the script need not be said again.
    let printed = outcome.map_err(|_| anyhow!("the demo's guest did not run its command: see above"))?;
    let told = Told::by(&printed).context("the guest did not say when it booted")?;
    println!(
        "demo: the VM is deleted and the daemon stopped; `{}` starts it again",
        folder.join("banger").display()
    );
    println!(
        "demo: a command ran in a real guest; boot took {:.1} s ({}), everything {:.1} s",
        told.boot_seconds,
        told.machine,
        took.as_secs_f64()
    );
    Ok(())
}

/// `banger` as built here, with the tools of this checkout on its PATH.
pub(crate) fn banger(place: &Place, folder: &Path, arguments: &[&str]) -> Tool {
    Tool::at(place, &folder.join("banger")).args(arguments)
}

/// What the guest said of itself.
#[derive(Debug, PartialEq)]
struct Told {
    boot_seconds: f64,
    machine: &'static str,
}

impl Told {
    fn by(printed: &str) -> Option<Self> {
        let line = |prefix| printed.lines().find_map(|line| line.strip_prefix(prefix));
        let boot_seconds = line("booted: ")?.strip_suffix(" s")?.parse().ok()?;
        // systemd-detect-virt says `qemu` of a QEMU that emulates the processor, `kvm` of one that does not.
        let machine = match line("machine: ")?.split(',').next()? {
            "qemu" => "QEMU, emulated",
            "kvm" => "KVM",
            _ => "an unknown machine",
        };
        Some(Self { boot_seconds, machine })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_s_last_words_are_understood() {
        let printed = "hello from Debian\nmachine: qemu, 1 CPU, 482 MiB\nbooted: 14.21 s\n";
        assert_eq!(Told::by(printed), Some(Told { boot_seconds: 14.21, machine: "QEMU, emulated" }));
    }

    #[test]
    fn a_guest_that_stopped_short_gives_no_figure() {
        assert_eq!(Told::by("hello from Debian\nmachine: kvm, 1 CPU, 482 MiB\n"), None);
        assert_eq!(Told::by("machine: kvm\nbooted: soon\n"), None);
    }
}
