//! The guest ring in the test host, where there is a KVM that works, as an ordinary user.
//!
//! Everything the tests need is built here and given to the host as one folder: banger's programs, the tests, their
//! runner, and the image and kernel that guests boot. The host has no network and needs none. What it cannot do is
//! run programs linked against a C library newer than its own, so on such a machine this fails before the tests do.

use super::{Outcome, Ring, watch};
use crate::host::{self, GIVEN_AT, Given, Host, User};
use crate::place::Place;
use crate::tool::{Tool, cargo, search};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The programs that guest tests start.
const PROGRAMS: &[&str] = &["banger", "bangerd", "bangerd-root", "banger-vsock-agent"];
/// The tools that Debian does not have.
const TOOLS: &[&str] = &["vhost-device-vsock", RUNNER];
const RUNNER: &str = "cargo-nextest";
/// Says where image and kernel are, see `e2e/src/bin`.
const TEMPLATE: &str = "guest-template";
/// What the developer may demand for the guests instead of what banger chooses by itself.
const VMM: &str = "BANGER_E2E_VMM";

/// What ssh ends with when it was not the command that failed but the connection; nextest never does.
const LOST: i32 = 255;

/// Asks banger which VMM it would use, in folders that are no test's.
const DOCTOR: &str = r#"
mkdir -p doctor/config/banger doctor/run
test -z "${BANGER_E2E_VMM:-}" || echo "vmm = \"$BANGER_E2E_VMM\"" > doctor/config/banger/config.toml
export XDG_CONFIG_HOME=$PWD/doctor/config XDG_STATE_HOME=$PWD/doctor/state
export XDG_CACHE_HOME=$PWD/doctor/cache XDG_RUNTIME_DIR=$PWD/doctor/run
chmod 0700 "$XDG_RUNTIME_DIR"
"$BANGER_BIN_DIR/banger" doctor || test $? = 1
"$BANGER_BIN_DIR/banger" daemon stop
"#;

pub(super) fn run(place: &Place, names: &[String], programs: &Path) -> Result<Outcome> {
    // Before the host is up: what does not compile should not wait for it.
    let folder = Folder { path: host::folder_to_give()? };
    folder.fill(place, programs)?;
    let mut host = Host::developers_or_own(place)?;
    let given = Given::folder(place, &host, &folder.path)?;
    drop(folder);

    let doctor = in_given(place, &host, &["sh", "-euc", DOCTOR])?.tee_stdout().context(
        "banger does not run in the test host (on a system newer than Debian 12 its programs need a newer C library)",
    )?;
    let Some(driver) = driver(&doctor) else { bail!("banger's doctor found no VMM in the test host") };
    let words: Vec<&str> = [
        RUNNER,
        "nextest",
        "run",
        "--archive-file",
        "tests.tar.zst",
        "--extract-to",
        "extracted",
        "--workspace-remap",
        "checkout",
        "--no-fail-fast",
    ]
    .into_iter()
    .chain(names.iter().map(String::as_str))
    .collect();
    let (verdict, status) = watch(in_given(place, &host, &words)?)?;
    if status.code() == Some(LOST) {
        drop(given);
        bail!("the test host was lost while tests ran in it\n{}", host.last_words()?);
    }
    given.take_back(place)?;
    Ok(Outcome { verdict, remark: format!(" (on host, {driver})") })
}

/// A command in the host, in the folder given to it and with an environment that points there.
fn in_given(place: &Place, host: &Host, words: &[&str]) -> Result<Tool> {
    let mut all = vec![
        "env".to_owned(),
        format!("--chdir={GIVEN_AT}"),
        format!("PATH={GIVEN_AT}/tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
        format!("BANGER_BIN_DIR={GIVEN_AT}/programs"),
        format!("BANGER_E2E_CACHE={GIVEN_AT}"),
        format!("BANGER_E2E_TEMPLATE={GIVEN_AT}/template"),
    ];
    if let Ok(vmm) = std::env::var(VMM) {
        all.push(format!("{VMM}={vmm}"));
    }
    all.extend(words.iter().map(ToString::to_string));
    host.command(place, User::Dev, &all)
}

/// From the doctor's `PASS  VMM: QEMU, with KVM` what the ring's closing line says: `QEMU, KVM`.
fn driver(doctor: &str) -> Option<String> {
    let found = doctor.lines().find_map(|line| line.strip_prefix("PASS  VMM: "))?;
    let name = found.split(',').next()?;
    let acceleration = if found.contains("with KVM") { "KVM" } else { "emulated" };
    Some(format!("{name}, {acceleration}"))
}

/// What the host is given, gathered; gone when this is dropped.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn fill(&self, place: &Place, programs: &Path) -> Result<()> {
        for program in PROGRAMS {
            self.copy(&programs.join(program), &format!("programs/{program}"))?;
        }
        for tool in TOOLS {
            let found = search(place, tool).with_context(|| format!("`{tool}` is not installed"))?;
            self.copy(&found, &format!("tools/bin/{tool}"))?;
        }
        // Of the checkout the runner wants to see its own configuration, a manifest, and the package's folder.
        for file in [".config/nextest.toml", "Cargo.toml"] {
            self.copy(&place.root.join(file), &format!("checkout/{file}"))?;
        }
        self.make("checkout/e2e")?;
        self.make("extracted")?;

        println!("ring guest: gathering tests, image and kernel for the host");
        cargo(place)?
            .args(["nextest", "archive", "--workspace"])
            .args(["--target-dir".as_ref(), place.target.as_os_str()])
            .args(Ring::Guest.targets())
            .args(["--archive-file".as_ref(), self.path.join("tests.tar.zst").as_os_str()])
            .run()?;
        let template = Tool::at(place, &programs.join(TEMPLATE)).env("BANGER_BIN_DIR", programs).output()?;
        link_tree(Path::new(template.trim_end()), &self.path.join("template"))
    }

    fn make(&self, name: &str) -> Result<()> {
        let folder = self.path.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))
    }

    fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.path.join(name);
        if let Some(parent) = Path::new(name).parent().and_then(Path::to_str) {
            self.make(parent)?;
        }
        fs::copy(from, &to)
            .map(drop)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// The same folders, the same files: images are too large to be copied twice.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_tree(&source, &target)?;
        } else {
            fs::hard_link(&source, &target)
                .with_context(|| format!("linking {} to {}", source.display(), target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_names_vmm_and_acceleration_as_the_doctor_found_them() {
        let doctor = |row: &str| format!("PASS  architecture: x86_64\n{row}\nPASS  KVM: usable\n");
        for (row, said) in [
            ("PASS  VMM: QEMU, with KVM", Some("QEMU, KVM")),
            ("PASS  VMM: Firecracker, with KVM", Some("Firecracker, KVM")),
            ("PASS  VMM: QEMU, emulated, because KVM cannot be used", Some("QEMU, emulated")),
            ("FAIL  VMM: there is no qemu-system-x86_64 on this host", None),
        ] {
            assert_eq!(driver(&doctor(row)).as_deref(), said);
        }
    }
}
