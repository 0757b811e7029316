//! banger as it is installed for a whole machine: in the test host, which is there to be changed.
//!
//! Whoever installs it there takes it away at the end, whatever became of the test.

use crate::{Finished, Invocation, images, programs};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What is typed once it is installed.
const BANGER: &str = "/usr/local/bin/banger";
/// That a test runs where it may install something.
const TEST_HOST: &str = "test-host";

/// An installed banger that serves the user who runs the test.
#[derive(Debug)]
pub struct Installed {
    built: PathBuf,
}

impl Installed {
    /// Installs what was built, with an image and a kernel.
    ///
    /// # Panics
    /// When this is no test host, or it is not installed.
    #[must_use]
    pub fn with_image() -> Self {
        insist_on_test_host();
        let installed = Self { built: programs::folder() };
        let _ = installed.install().expect_success();
        let template = images::template().expect("the host was given an image");
        let _ = sudo(&["systemctl", "stop", "bangerd.service"]).expect_success();
        for kind in ["images", "kernels"] {
            let from = format!("{}/{kind}", template.display());
            let _ = sudo(&["cp", "-a", "--sparse=always", &from, "/var/lib/banger/"]).expect_success();
        }
        let owner = format!("{}:", whoami());
        let _ = sudo(&["chown", "-R", &owner, "/var/lib/banger"]).expect_success();
        let _ = sudo(&["systemctl", "start", "bangerd.service"]).expect_success();
        installed
    }

    /// `system install` of what was built; again is as good as once.
    #[must_use]
    pub fn install(&self) -> Finished {
        let banger = self.built.join("banger");
        sudo(&[banger.display().to_string().as_str(), "system", "install", "--owner", &whoami()])
    }

    /// A command as the owner types it.
    pub fn banger<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Invocation {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Invocation::new(Path::new(BANGER), arguments).env("HOME", home)
    }

    /// A command as root types it.
    #[must_use]
    pub fn as_root(&self, words: &[&str]) -> Finished {
        sudo(words)
    }

    /// What a guest's kernel calls this boot.
    #[must_use]
    pub fn boot_id(&self, vm: &str) -> String {
        let asked = self.banger(["vm", "exec", vm, "--", "cat", "/proc/sys/kernel/random/boot_id"]).run();
        asked.expect_success().stdout_text().trim().to_owned()
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
}

impl Drop for Installed {
    fn drop(&mut self) {
        let gone = sudo(&[BANGER, "system", "uninstall", "--purge", "--force"]);
        if gone.code() != Some(0) && Path::new(BANGER).exists() {
            eprintln!("the installed banger is still there: {}", gone.stderr_text());
        }
    }
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
