//! A home for one test.
//!
//! Every folder that banger finds through the environment lies in the sandbox's own, so its daemon, its VMs and its
//! configuration are nobody else's. At its end the sandbox deletes the VMs that are left, stops the daemon, and
//! then looks: a VM nobody deleted, a process still about, an entry among the VMs' folders is a failure of the
//! test that left it. Whatever it finds it removes as well, so that one test's leak does not become another's.

use crate::fake_guests::{self, FakeVmm, Fakes};
use crate::{Finished, Invocation, Place, Process, Rpc, images, processes, programs};
use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Enough for a daemon with guests on a busy machine.
const ENDING: Duration = Duration::from_secs(20);

/// One test's own environment.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
    programs: PathBuf,
    /// The programs that stand in for a VMM and guests, if any do.
    fakes: Option<Fakes>,
    /// The VMM that real guests have to run in; banger chooses when there is none.
    vmm: Option<String>,
    /// Where banger runs, if not on this machine as it is.
    place: Option<Place>,
    /// How long processes that were told to end may take.
    patience: Duration,
}

impl Sandbox {
    /// A machine on which banger has never been run: no image, no kernel.
    ///
    /// # Panics
    /// When banger is not built or the sandbox's folder cannot be made.
    #[must_use]
    pub fn empty() -> Self {
        // A short name: sockets lie deep below, and a socket's path has 107 bytes.
        Self::made_in(&images::cache().join("s"), programs::folder(), ENDING)
    }

    fn made_in(parent: &Path, programs: PathBuf, patience: Duration) -> Self {
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("no folder {}: {error}", parent.display()));
        remove_what_killed_tests_left(parent);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .rand_bytes(4)
            .tempdir_in(parent)
            .unwrap_or_else(|error| panic!("no sandbox in {}: {error}", parent.display()));
        let sandbox = Self { folder, programs, fakes: None, vmm: None, place: None, patience };
        for folder in ["home", "config", "state/banger", "cache", "run"] {
            let folder = sandbox.folder.path().join(folder);
            make_private(&folder);
        }
        sandbox
    }

    /// A machine with the default image and its kernel. The first on this machine to ask for one builds them.
    ///
    /// `BANGER_E2E_VMM` says which VMM its guests have to run in (`firecracker`, `qemu`).
    ///
    /// # Panics
    /// As [`Sandbox::empty`], and when they cannot be built.
    #[must_use]
    pub fn with_image() -> Self {
        Self::with_image_in(&images::cache().join("s"))
    }

    /// As [`Sandbox::with_image`], with everything in a folder of a file system that is to be tried.
    ///
    /// # Panics
    /// As [`Sandbox::with_image`].
    #[must_use]
    pub fn with_image_in(parent: &Path) -> Self {
        let mut sandbox = Self::made_in(parent, programs::folder(), ENDING);
        images::share_into(&sandbox).unwrap_or_else(|error| panic!("no image to test with: {error:#}"));
        sandbox.vmm = std::env::var("BANGER_E2E_VMM").ok();
        if sandbox.vmm.is_some() {
            sandbox.configure("");
        }
        sandbox
    }

    /// Adds an image of this name whose root file system has this many bytes free; the path of that file system.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn add_small_image(&self, name: &str, free: u64) -> PathBuf {
        images::add_small(self, name, free).unwrap_or_else(|error| panic!("no small image: {error:#}"))
    }

    /// A machine with images whose guests are fakes, each named after what they do; see `fake_guests`.
    ///
    /// # Panics
    /// As [`Sandbox::empty`], and when the fakes are not built.
    #[must_use]
    pub fn with_fake_guests() -> Self {
        Self::with_fake_guests_of(FakeVmm::Qemu)
    }

    /// As [`Sandbox::with_fake_guests`], of this VMM.
    ///
    /// # Panics
    /// As [`Sandbox::with_fake_guests`].
    #[must_use]
    pub fn with_fake_guests_of(vmm: FakeVmm) -> Self {
        Self::empty().furnished_with(vmm)
    }

    /// As [`Sandbox::with_fake_guests`], with everything that banger writes in a folder of a file system that is to be
    /// tried.
    ///
    /// # Panics
    /// As [`Sandbox::with_fake_guests`].
    #[must_use]
    pub fn with_fake_guests_in(parent: &Path) -> Self {
        Self::made_in(parent, programs::folder(), ENDING).furnished_with(FakeVmm::Qemu)
    }

    fn furnished_with(mut self, vmm: FakeVmm) -> Self {
        let fakes = fake_guests::share_into(&self, vmm);
        self.fakes = Some(fakes.unwrap_or_else(|error| panic!("no fake guests: {error:#}")));
        self.configure("");
        self
    }

    /// `banger` with these arguments.
    #[must_use]
    pub fn banger<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Invocation {
        let banger = self.programs.join("banger");
        match &self.place {
            None => self.sealed(Invocation::new(&banger, arguments)),
            Some(place) => {
                let words = place.entrance().into_iter().map(OsString::from).chain([banger.into_os_string()]);
                let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
                self.tool("nsenter", words.chain(arguments))
            }
        }
    }

    /// From now on banger runs in these surroundings.
    pub fn move_into(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// A copy of `banger` in a folder of this name below the sandbox's home; it finds the daemon that runs.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn copy_of_banger(&self, folder: &str) -> PathBuf {
        let folder = self.home().join(folder);
        make_private(&folder);
        let copy = folder.join("banger");
        fs::copy(self.programs.join("banger"), &copy).expect("the sandbox is writable");
        copy
    }

    /// Another program in the same environment, such as `ssh`.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn tool<A: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = A>) -> Invocation {
        let path = programs::search_path(&self.programs);
        let program =
            std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        let program =
            program.unwrap_or_else(|| panic!("`{name}` is missing: `cargo xtask setup` installs it"));
        self.sealed(Invocation::new(&program, arguments))
    }

    fn sealed(&self, invocation: Invocation) -> Invocation {
        let folder = |name: &str| self.folder.path().join(name);
        let mut sealed = invocation
            .env("PATH", programs::search_path(&self.programs))
            .env("HOME", folder("home"))
            .env("XDG_CONFIG_HOME", folder("config"))
            .env("XDG_STATE_HOME", folder("state"))
            .env("XDG_CACHE_HOME", folder("cache"))
            .env("XDG_RUNTIME_DIR", folder("run"))
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .current_dir(&folder("home"));
        // How this machine reaches package mirrors, should an image have to be built.
        for proxy in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            if let Some(value) = std::env::var_os(proxy) {
                sealed = sealed.env(proxy, value);
            }
        }
        sealed
    }

    /// Runs a read command with `--json`.
    ///
    /// # Panics
    /// When it fails or prints no JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.banger(arguments.iter().copied().chain(["--json"])).run().expect_success();
        serde_json::from_slice(&finished.stdout)
            .unwrap_or_else(|error| panic!("`banger {}` printed no JSON: {error}", arguments.join(" ")))
    }

    /// Runs a command in a VM.
    #[must_use]
    pub fn exec(&self, vm: &str, command: &[&str]) -> Finished {
        self.banger(["vm", "exec", vm, "--"].iter().chain(command)).run()
    }

    /// The boot that a VM is in.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn boot_id(&self, vm: &str) -> String {
        self.exec(vm, &["cat", "/proc/sys/kernel/random/boot_id"])
            .expect_success()
            .stdout_text()
            .trim()
            .to_owned()
    }

    /// A folder of the test's own, in the sandbox.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes banger's configuration file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, text: &str) {
        let folder = self.folder.path().join("config/banger");
        make_private(&folder);
        let settings = match (&self.fakes, &self.vmm) {
            (Some(fakes), _) => fakes.settings(),
            (None, Some(vmm)) => format!("vmm = \"{vmm}\"\n"),
            (None, None) => String::new(),
        };
        fs::write(folder.join("config.toml"), settings + text).expect("the sandbox is writable");
    }

    /// The folder of the programs under test.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The folder in which the sockets' own folder is made.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The socket of the daemon or of its helper.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        let entries = fs::read_dir(self.runtime()).expect("the sandbox is readable");
        let mut sockets = entries.filter_map(|entry| Some(entry.ok()?.path().join(name)));
        sockets.find(|socket| socket.exists()).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// A connection to the daemon, which is started if it does not run.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        let _ = self.banger(["vm", "list", "-q"]).run().expect_success();
        Rpc::greeted(&self.socket("bangerd.sock"))
    }

    /// The processes of this sandbox that run a program.
    #[must_use]
    pub fn running(&self, program: &str) -> Vec<Process> {
        let mut processes = self.processes();
        processes.retain(|process| process.program() == program);
        processes
    }

    /// Ends the processes that run a program, as a crash would, and waits until they are gone.
    ///
    /// # Panics
    /// When there is none, or it does not end.
    pub fn kill(&self, program: &str) {
        assert!(self.kill_all(program) > 0, "no {program} is running");
    }

    /// As [`Sandbox::kill`], of a program that may have ended by itself; says how many there were.
    ///
    /// # Panics
    /// When one does not end.
    pub fn kill_all(&self, program: &str) -> usize {
        let doomed = self.running(program);
        for process in &doomed {
            processes::kill(process, self.folder.path());
        }
        let gone = |process: &Process| doomed.iter().any(|dead| dead.pid == process.pid);
        assert_eq!(self.outlast(gone), [], "killed, and still there");
        doomed.len()
    }

    /// Stops the processes that run a program: they stay, and do nothing until they are killed or let go on.
    ///
    /// # Panics
    /// When there is none.
    pub fn halt(&self, program: &str) {
        self.send(program, Signal::STOP);
    }

    /// Lets those go on that were halted.
    ///
    /// # Panics
    /// When there is none.
    pub fn go_on(&self, program: &str) {
        self.send(program, Signal::CONT);
    }

    fn send(&self, program: &str, signal: Signal) {
        let running = self.running(program);
        assert!(!running.is_empty(), "no {program} is running");
        for process in &running {
            processes::signal(process, self.folder.path(), signal);
        }
    }

    /// Puts a program that fails at once in the place of a fake.
    ///
    /// # Panics
    /// When guests are not fakes here.
    pub fn break_fake(&self, program: &str) {
        let fakes = self.fakes.as_ref().expect("guests are fakes here");
        let path = fakes.program(program);
        fs::remove_file(&path)
            .and_then(|()| fs::copy("/bin/false", &path))
            .expect("the fakes can be replaced");
    }

    /// Lets guests go on that wait to be let.
    ///
    /// # Panics
    /// When they cannot be told.
    pub fn let_go(&self) {
        for vm in self.vm_folders() {
            fs::write(self.state().join("vms").join(vm).join("go"), "").expect("a VM's folder is writable");
        }
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it does not come to be so in time.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };
        let deadline = Instant::now() + self.patience;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited {:?} in vain: {what}", self.patience);
            // Nothing to poll but time.
            let _ = poll(&mut [], Some(&LOOK_EVERY));
        }
    }

    /// Where the user's settings are, in a folder of banger's.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// banger's cache folder.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/banger")
    }

    /// banger's state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state/banger")
    }

    /// The entries of the folder in which each VM has its own.
    #[must_use]
    pub fn vm_folders(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.state().join("vms")) else { return Vec::new() };
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Files and folders of the state folder whose name contains `text`.
    #[must_use]
    pub fn files_named(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(text) {
                    found.push(entry.path());
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        found
    }

    /// The ids of all VMs.
    ///
    /// # Panics
    /// When they cannot be listed.
    #[must_use]
    pub fn vm_ids(&self) -> Vec<String> {
        let listed = self.banger(["vm", "list", "-q"]).run().expect_success();
        listed.stdout_text().split_whitespace().map(str::to_owned).collect()
    }

    /// Every process that belongs to this sandbox.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::touching(self.folder.path())
    }

    /// Waits until the sandbox has no process that `is_unwanted`, and returns those that would not go.
    #[must_use]
    pub fn outlast(&self, is_unwanted: impl Fn(&Process) -> bool) -> Vec<Process> {
        // Looks again each time one of them has ended.
        let deadline = Instant::now() + self.patience;
        loop {
            let mut left = self.processes();
            left.retain(&is_unwanted);
            match left.first() {
                Some(process) if Instant::now() < deadline => processes::wait_for_end(process, deadline),
                _ => return left,
            }
        }
    }

    /// Whether something becomes true while the test has patience.
    pub fn becomes(&self, is_so: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + self.patience;
        loop {
            if is_so() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            #[expect(clippy::disallowed_methods, reason = "looks again, with a deadline")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that should not be there, after removing it.
    fn clean_up(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.state().join("banger.db").exists() {
            let listed = self.banger(["vm", "list", "-q"]).limit(Duration::from_secs(60)).run();
            let ids: Vec<&str> = listed.stdout_text().split_whitespace().collect();
            if !ids.is_empty() {
                left.push(format!("VMs that the test did not delete: {}", ids.join(" ")));
                let deleted = self.banger(["vm", "delete"].iter().chain(&ids)).run();
                left.extend((deleted.code() != Some(0)).then(|| deleted.stderr_text()));
            }
            let stopped = self.banger(["daemon", "stop"]).limit(Duration::from_secs(60)).run();
            left.extend((stopped.code() != Some(0)).then(|| stopped.stderr_text()));
        }
        for process in self.outlast(|_| true) {
            left.push(format!("process {}: {}", process.pid, process.command));
            processes::kill(&process, self.folder.path());
        }
        left.extend(self.vm_folders().into_iter().map(|name| format!("folder vms/{name}")));
        left
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let folder = self.folder.path();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean_up()));
        for process in processes::touching(folder) {
            processes::kill(&process, folder);
        }
        let left = outcome.unwrap_or_else(|_| vec!["the sandbox could not be cleaned up".to_owned()]);
        for line in &left {
            eprintln!("left over: {line}");
        }
        // A second panic would abort and hide the first.
        assert!(left.is_empty() || std::thread::panicking(), "left over: {}", left.join("; "));
    }
}

fn make_private(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
    made.unwrap_or_else(|error| panic!("no folder {}: {error}", folder.display()));
}

/// A test that was killed could not clean up. Its sandbox carries its pid, and is removed once nobody has that.
///
/// One test does it, and the others go on: whoever removes a folder has it open, as what was left there has.
fn remove_what_killed_tests_left(parent: &Path) {
    let Ok(tidying) = fs::File::open(parent) else { return };
    if flock(&tidying, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.split_once('-') else { continue };
        if !Path::new("/proc").join(pid).exists() {
            for process in processes::touching(&entry.path()) {
                processes::kill(&process, &entry.path());
            }
            // What cannot be removed is tried again by the next.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A sandbox without banger in a parent folder of its own, and what it says at its end.
    fn verdict(parent: &Path, plant: impl FnOnce(&Sandbox)) -> Option<String> {
        let sandbox = Sandbox::made_in(parent, PathBuf::from("/nonexistent"), Duration::from_millis(50));
        plant(&sandbox);
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(sandbox)));
        outcome.err().and_then(|panic| panic.downcast::<String>().ok()).map(|message| *message)
    }

    #[test]
    fn a_test_that_leaves_nothing_passes_and_its_folder_goes() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(verdict(parent.path(), |_| ()), None);
        assert_eq!(fs::read_dir(parent.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn a_planted_process_or_folder_fails_the_test_that_left_it() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let mut planted = None;
        let message = verdict(parent.path(), |sandbox| {
            let mut running = sandbox.tool("sh", ["-c", "echo up; read forever"]).open_stdin().start();
            running.wait_for("up");
            planted = Some(running);
        });
        assert!(message.is_some_and(|m| m.contains("left over: process") && m.contains("read forever")));
        assert_eq!(planted.expect("it was planted").finish().code(), None, "it was not killed");

        let message =
            verdict(parent.path(), |sandbox| make_private(&sandbox.state().join("vms/0123456789ab")));
        assert_eq!(message.as_deref(), Some("left over: folder vms/0123456789ab"));
    }

    #[test]
    fn what_a_killed_test_left_is_removed_by_the_next_one() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        // No process can have this number: the kernel's limit is 2^22.
        let left = parent.path().join("4194305-abcd");
        make_private(&left.join("home"));
        let ours = parent.path().join(format!("{}-abcd", std::process::id()));
        make_private(&ours);
        let others = fs::File::open(parent.path()).expect("a folder can be opened");
        flock(&others, FlockOperation::LockExclusive).expect("nobody else has it");
        assert_eq!(verdict(parent.path(), |_| ()), None);
        assert!(left.exists(), "it was removed while another test did so");
        drop(others);
        assert_eq!(verdict(parent.path(), |_| ()), None);
        assert!(!left.exists() && ours.exists());
    }
}
