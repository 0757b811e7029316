//! banger as it is installed for a whole machine: in the test host, which is there to be changed.
//!
//! Whoever installs it there takes it away at the end, whatever became of the test. What else a test makes of the host is in
//! [`inventory`] and [`world`].

mod fakes;
mod inventory;
mod tracer;
mod world;

pub use inventory::Inventory;
pub use tracer::{Mishap, Traced, Tracer};
pub use world::{World, guest_hears};

use crate::{Finished, Invocation, images, programs};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// That a test runs where it may install something.
const TEST_HOST: &str = "test-host";
/// Names the package that was built of these sources.
const PACKAGE: &str = "BANGER_E2E_PACKAGE";

/// An installed banger that serves the user who runs the test.
#[derive(Debug)]
pub struct Installed {
    from: From,
    /// What stands in for a VMM, in the place of one of the host's.
    _fakes: Option<fakes::Fakes>,
}

/// How it came onto the host.
#[derive(Debug)]
enum From {
    /// A Debian package.
    Package,
    /// A folder with a build in it.
    Folder(PathBuf),
}

impl Installed {
    /// Installs the package that was built, with an image and a kernel.
    ///
    /// # Panics
    /// When this is no test host, or it is not installed.
    #[must_use]
    pub fn with_image() -> Self {
        insist_on_test_host();
        let _ = sudo(&["dpkg", "--install", &package().display().to_string()]).expect_success();
        let installed = Self { from: From::Package, _fakes: None };
        let _ = installed.install(&[]).expect_success();
        installed.add_image();
        installed
    }

    /// Installs bare programs as they were built, saying more to `system install`, with an image and a kernel.
    ///
    /// # Panics
    /// As [`Installed::with_image`].
    #[must_use]
    pub fn from_folder(more: &[&str]) -> Self {
        insist_on_test_host();
        let installed = Self { from: From::Folder(programs::folder()), _fakes: None };
        let _ = installed.install(more).expect_success();
        installed.add_image();
        installed
    }

    /// Installs bare programs on a host whose QEMU is a fake, and its guests with it: they boot in milliseconds.
    ///
    /// # Panics
    /// As [`Installed::with_image`].
    #[must_use]
    pub fn with_fake_guests() -> Self {
        insist_on_test_host();
        let fakes = fakes::Fakes::put_in_place();
        let installed = Self { from: From::Folder(fakes.programs()), _fakes: Some(fakes) };
        let _ = installed.install(&[]).expect_success();
        installed.with_state(|| fakes::add_image(Path::new("/var/lib/banger")));
        installed
    }

    fn add_image(&self) {
        let template = images::template().expect("the host was given an image");
        self.with_state(|| {
            for kind in ["images", "kernels"] {
                let from = format!("{}/{kind}", template.display());
                let _ = sudo(&["cp", "-a", "--sparse=always", &from, "/var/lib/banger/"]).expect_success();
            }
            let owner = format!("{}:", whoami());
            let _ = sudo(&["chown", "-R", &owner, "/var/lib/banger"]).expect_success();
        });
    }

    /// Changes what the daemon has while it does not run.
    fn with_state(&self, change: impl FnOnce()) {
        let _ = self.as_root(&["systemctl", "stop", "bangerd.service"]).expect_success();
        change();
        let _ = self.as_root(&["systemctl", "start", "bangerd.service"]).expect_success();
    }

    /// `system install` of what was built, saying more; again is as good as once.
    #[must_use]
    pub fn install(&self, more: &[&str]) -> Finished {
        let banger = match &self.from {
            From::Package => self.program().to_owned(),
            From::Folder(folder) => folder.join("banger").display().to_string(),
        };
        let owner = whoami();
        sudo(&[&[banger.as_str(), "system", "install", "--owner", &owner], more].concat())
    }

    /// Where `banger` is for everybody.
    #[must_use]
    pub fn program(&self) -> &'static str {
        match self.from {
            From::Package => "/usr/bin/banger",
            From::Folder(_) => "/usr/local/bin/banger",
        }
    }

    /// A command as the owner types it.
    pub fn banger<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Invocation {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Invocation::new(Path::new(self.program()), arguments).env("HOME", home).env("PATH", "/usr/bin:/bin")
    }

    /// A command of banger's that root types.
    #[must_use]
    pub fn system(&self, words: &[&str]) -> Finished {
        sudo(&[&[self.program(), "system"], words].concat())
    }

    /// A command as root types it.
    #[must_use]
    pub fn as_root(&self, words: &[&str]) -> Finished {
        sudo(words)
    }

    /// A command in a guest.
    #[must_use]
    pub fn exec(&self, vm: &str, words: &[&str]) -> Finished {
        self.banger([&["vm", "exec", vm, "--"], words].concat()).run()
    }

    /// What a command prints as JSON.
    ///
    /// # Panics
    /// When it fails, or prints something else.
    #[must_use]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let told = self.banger(words.iter().copied().chain(["--json"])).run().expect_success();
        serde_json::from_slice(&told.stdout).expect("it prints JSON")
    }

    /// What a guest's kernel calls this boot.
    #[must_use]
    pub fn boot_id(&self, vm: &str) -> String {
        let told = self.exec(vm, &["cat", "/proc/sys/kernel/random/boot_id"]).expect_success();
        told.stdout_text().trim().to_owned()
    }

    /// `systemd-analyze security` of a service: from 0.0 to 10.0, less being less exposed.
    ///
    /// # Panics
    /// When systemd does not tell.
    #[must_use]
    pub fn exposure(&self, unit: &str) -> f64 {
        let told = sudo(&["systemd-analyze", "security", "--no-pager", unit]).expect_success();
        let last = told.stdout_text().lines().last().unwrap_or_default();
        let figure = last.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::parse);
        figure.and_then(Result::ok).unwrap_or_else(|| panic!("no exposure in `{last}`"))
    }

    /// A service's main process, which is waited for: one that was killed is started again after a second. Never 0,
    /// which to `kill` is everybody of the caller's group.
    ///
    /// # Panics
    /// When the service has no process in time, or systemd does not tell.
    #[must_use]
    pub fn main_pid(&self, unit: &str) -> u32 {
        const LIMIT: Duration = Duration::from_secs(30);
        let deadline = Instant::now() + LIMIT;
        loop {
            let told = sudo(&["systemctl", "show", "--property=MainPID", "--value", unit]).expect_success();
            let pid = told.stdout_text().trim().parse().expect("a number");
            if pid != 0 {
                return pid;
            }
            assert!(Instant::now() < deadline, "{unit} has had no process for {LIMIT:?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let gone = match self.from {
            From::Package => {
                let _ = sudo(&["systemctl", "start", "bangerd.service"]);
                sudo(&["dpkg", "--purge", "banger"])
            }
            From::Folder(_) => sudo(&[self.program(), "system", "uninstall", "--purge", "--force"]),
        };
        if gone.code() != Some(0) && Path::new(self.program()).exists() {
            eprintln!("the installed banger is still there: {}", gone.stderr_text());
        }
    }
}

/// The same package as a later version of itself: what it brings has other bytes, and does the same.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn later_package() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (tree, later) = (folder.path().join("tree"), folder.path().join("later.deb"));
    let (tree, later_text) = (tree.display().to_string(), later.display().to_string());
    // What follows a program's sections is nothing to whoever loads it.
    let script = "dpkg-deb -R \"$1\" \"$2\" && sed -i 's/^Version: .*/&+later/' \"$2/DEBIAN/control\" && \
                  for p in \"$2\"/usr/lib/banger/bangerd \"$2\"/usr/lib/banger/bangerd-root; do echo later >> $p; done && \
                  dpkg-deb --root-owner-group -Znone -b \"$2\" \"$3\"";
    let words = ["-euc", script, "sh", &package().display().to_string(), &tree, &later_text];
    let built = Invocation::new(Path::new("/bin/sh"), words).env("PATH", "/usr/bin:/bin").run();
    let _ = built.expect_success();
    (folder, later)
}

fn package() -> PathBuf {
    std::env::var_os(PACKAGE).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{PACKAGE} names no package: `cargo xtask test --ring host` builds one and says where it is")
    })
}

/// # Panics
/// When this is a host that somebody else uses too.
pub(crate) fn insist_on_test_host() {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    assert_eq!(
        name.trim(),
        TEST_HOST,
        "this changes the host: `cargo xtask test --ring host` runs it where that harms nobody"
    );
}

/// A command as root, in the test host.
pub(crate) fn sudo(words: &[&str]) -> Finished {
    let words = ["--non-interactive", "--"].iter().chain(words);
    Invocation::new(Path::new("/usr/bin/sudo"), words).run()
}

fn whoami() -> String {
    let told = Invocation::new(Path::new("/usr/bin/id"), ["-un"]).run().expect_success();
    told.stdout_text().trim().to_owned()
}
