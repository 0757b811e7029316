//! Rings in the test host, where there is a KVM that works, as an ordinary user: the host ring always, the guest ring
//! when it is asked to.
//!
//! Everything the tests need is built here and given to the host as one folder, the tests and their runner among it.

use super::summary::{self, Count};
use super::{Outcome, Ring, count};
use crate::host::{BACKEND, Given, Host, LOST, PACKAGE, Parcel, User, in_given};
use crate::package;
use crate::place::Place;
use crate::tool::{cargo, search};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

const RUNNER: &str = "cargo-nextest";
/// What stands in for QEMU where every step of the installed system is made to fail.
const FAKES: [&str; 2] = ["fake-qemu", "fake-vsock-backend"];

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

/// Tests that one user of the host runs.
#[derive(Debug)]
struct Turn {
    user: User,
    /// nextest's name for them.
    which: &'static str,
    /// How many at once, where that is not nextest's own choice.
    threads: Option<&'static str>,
}

/// Who runs what. The jailer's tests are of the real one, with the real Firecracker, or of nothing.
fn turns(ring: Ring, firecracker: bool) -> Vec<Turn> {
    // There is one host to install something on.
    let threads = (ring == Ring::Host).then_some("1");
    let turn = |user, which| Turn { user, which, threads };
    match (ring, firecracker) {
        (Ring::Host, true) => {
            vec![turn(User::Root, "package(banger-root-helper)"), turn(User::Dev, "package(banger-e2e)")]
        }
        (Ring::Host, false) => vec![
            turn(User::Root, "package(banger-root-helper) and not binary(host_jail)"),
            turn(User::Dev, "package(banger-e2e)"),
        ],
        _ => vec![turn(User::Dev, "all()")],
    }
}

/// How many hosts a ring shares its tests out to: an emulated processor keeps one of this machine's busy.
const MOST_HOSTS: usize = 2;

pub(super) fn run(place: &Place, ring: Ring, names: &[String], programs: &Path) -> Result<Outcome> {
    // Before the host is up: what does not compile should not wait for it.
    let parcel = Parcel::pack(place, programs)?;
    add_tests(place, ring, &parcel, programs)?;
    let most = if names.is_empty() { MOST_HOSTS } else { 1 };
    let mut hosts = Host::developers_or_own_up_to(place, most)?;
    let given =
        hosts.iter().map(|host| Given::folder(place, host, parcel.folder())).collect::<Result<Vec<_>>>()?;
    drop(parcel);

    let doctor = in_given(place, &hosts[0], User::Dev, &["sh", "-euc", DOCTOR])?.tee_stdout().context(
        "banger does not run in the test host (on a system newer than Debian 12 its programs need a newer C library)",
    )?;
    let Some(driver) = driver(&doctor) else { bail!("banger's doctor found no VMM in the test host") };
    let firecracker = driver.starts_with("Firecracker");
    if ring == Ring::Host && !firecracker {
        println!("ring host: there is no Firecracker, so nothing is said of its jailer");
    }
    let number = hosts.len();
    let shares: Vec<Result<Share>> = std::thread::scope(|scope| {
        let begin = |(index, host)| {
            let share = format!("slice:{}/{number}", index + 1);
            let mark = if number == 1 { String::new() } else { format!("host {}| ", index + 1) };
            scope.spawn(move || take_turns(place, host, &turns(ring, firecracker), &share, names, &mark))
        };
        let running: Vec<_> = hosts.iter().enumerate().map(begin).collect();
        running.into_iter().map(|thread| thread.join().expect("it reports its errors")).collect()
    });
    let mut counted = None::<Count>;
    let mut succeeded = true;
    let mut lost = None;
    for (index, share) in shares.into_iter().enumerate() {
        let share = share?;
        succeeded &= share.succeeded;
        counted = summary::sum(counted, share.counted);
        if share.host_was_lost {
            lost = Some(index);
        }
    }
    if let Some(index) = lost {
        drop(given);
        bail!("the test host was lost while tests ran in it\n{}", hosts[index].last_words()?);
    }
    for given in given {
        given.take_back(place)?;
    }
    Ok(Outcome { verdict: summary::judge(counted, succeeded), remark: format!(" (on host, {driver})") })
}

/// What became of the tests that one host ran.
#[derive(Debug)]
struct Share {
    counted: Option<Count>,
    succeeded: bool,
    host_was_lost: bool,
}

/// Has each user run a share of their tests in a host, one user after the other. Every line they print begins with `mark`.
fn take_turns(
    place: &Place,
    host: &Host,
    turns: &[Turn],
    share: &str,
    names: &[String],
    mark: &str,
) -> Result<Share> {
    let mut sum = Share { counted: None, succeeded: true, host_was_lost: false };
    for Turn { user, which, threads } in turns {
        let folder = unpacked(*user);
        let words: Vec<&str> = [
            RUNNER,
            "nextest",
            "run",
            "--archive-file",
            "tests.tar.zst",
            "--extract-to",
            &folder,
            "--extract-overwrite",
            "--workspace-remap",
            "checkout",
            "--no-fail-fast",
            // Of the turns together one has to have run a test.
            "--no-tests=pass",
            "--partition",
            share,
            "--filterset",
            which,
        ]
        .into_iter()
        .chain(threads.iter().flat_map(|threads| ["--test-threads", threads]))
        .chain(names.iter().map(String::as_str))
        .collect();
        let (counted, status) = count(in_given(place, host, *user, &words)?, mark)?;
        if status.code() == Some(LOST) {
            sum.host_was_lost = true;
            return Ok(sum);
        }
        sum.succeeded &= status.success() && counted.is_some();
        sum.counted = summary::sum(sum.counted, counted);
    }
    Ok(sum)
}

/// Where a user's turn unpacks the tests: what one has written, another may not replace.
fn unpacked(user: User) -> String {
    format!("extracted-{}", user.name())
}

fn add_tests(place: &Place, ring: Ring, parcel: &Parcel, programs: &Path) -> Result<()> {
    println!("ring {}: gathering tests, image and kernel for the host", ring.name());
    parcel.add_tool(place, RUNNER)?;
    // Of the checkout the runner wants to see its own configuration, a manifest, and the package's folder.
    for file in [".config/nextest.toml", "Cargo.toml"] {
        parcel.copy(&place.root.join(file), &format!("checkout/{file}"))?;
    }
    for user in [User::Dev, User::Root] {
        parcel.make(&unpacked(user))?;
    }
    for package in ["e2e", "crates/root-helper"] {
        parcel.make(&format!("checkout/{package}"))?;
    }
    if ring == Ring::Guest {
        parcel.add_layouts(place, programs)?;
    }
    if ring == Ring::Host {
        // What is installed without a package comes out of one folder.
        parcel
            .copy(&search(place, BACKEND).context("there is no backend")?, &format!("programs/{BACKEND}"))?;
        for fake in FAKES {
            parcel.add_program(&programs.join(fake))?;
        }
        parcel.copy(&package::run(place)?, PACKAGE)?;
    }
    cargo(place)?
        .args(["nextest", "archive", "--workspace"])
        .args(["--target-dir".as_ref(), place.target.as_os_str()])
        .args(ring.targets())
        .args(["--archive-file".as_ref(), parcel.folder().join("tests.tar.zst").as_os_str()])
        .run()
}

/// From the doctor's `PASS  VMM: QEMU, with KVM` what the ring's closing line says: `QEMU, KVM`.
fn driver(doctor: &str) -> Option<String> {
    let found = doctor.lines().find_map(|line| line.strip_prefix("PASS  VMM: "))?;
    let name = found.split(',').next()?;
    let acceleration = if found.contains("with KVM") { "KVM" } else { "emulated" };
    Some(format!("{name}, {acceleration}"))
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
            ("PASS  VMM: QEMU, emulated, because KVM is not usable", Some("QEMU, emulated")),
            ("FAIL  VMM: qemu-system-x86_64 is not installed", None),
        ] {
            assert_eq!(driver(&doctor(row)).as_deref(), said);
        }
    }
}
