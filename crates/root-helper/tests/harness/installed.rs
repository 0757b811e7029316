//! A `bangerd-root` as it is installed: root's, on the host itself, for an owner who is not root.
//!
//! It has a network namespace of its own, and its own install file lies over the host's in mounts of its own: what is
//! really installed there is not touched. Block devices and scopes are the host's. Only for the test host, which ends with
//! everything in it.

use super::{find, run, until};
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{
    Inventory, InventoryRequest, ProcessKillAll, SnapshotCreate, SnapshotDelete, Version, changes_size,
};
use banger_protocol::wire::{Connection, ConnectionError};
use rustix::process::{Gid, Uid};
use std::fs::{File, Permissions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The ordinary user of the test host.
pub(crate) const OWNER: u32 = 1000;
/// Where the owner's files are.
const STATE: &str = "/var/lib/banger-tests";
/// What lies over `/etc/banger` for the helper; the same for every test.
const INSTALL: &str = "/run/banger-tests";

/// The users that its VMs run as; other ones than an installation has that says nothing of them.
pub(crate) const VM_UIDS: &str = "200000-300000";

/// How long an answer may take; one processor, emulated, is slow.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// An installed helper with a place for its owner's files; both end with the test.
pub(crate) struct Installed {
    helper: Child,
    listener: UnixListener,
    pub(crate) socket: PathBuf,
    /// The owner's, and nobody else's.
    pub(crate) state: PathBuf,
    /// What was there before, to be there afterwards.
    pub(crate) vms: Vec<VmId>,
}

impl Installed {
    /// Starts it for a test of this name.
    pub(crate) fn start(name: &str) -> Self {
        expect_the_test_host();
        install();
        let state = PathBuf::from(format!("{STATE}/{name}"));
        let _ = std::fs::remove_dir_all(&state);
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        chown(&state, Some(OWNER), Some(OWNER)).unwrap();
        let socket = PathBuf::from(format!("/run/banger-{name}.sock"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        chown(&socket, Some(OWNER), Some(OWNER)).unwrap();
        // It is there while there is no helper, too.
        run("ip", &["netns", "delete", name]);
        let made = run("ip", &["netns", "add", name]);
        assert!(made.status.success(), "{made:?}");
        let helper = spawn(&listener, name);
        Self { helper, listener, socket, state, vms: Vec::new() }
    }

    /// Ends the helper as a crash would, and starts the next one.
    pub(crate) fn crash_and_restart(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
        let name = self.state.file_name().unwrap().to_str().unwrap().to_owned();
        self.helper = spawn(&self.listener, &name);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.helper.id()
    }

    /// A connection past its greeting. Others may have to be closed at the helper's end first.
    pub(crate) fn connect(&self) -> Connection {
        let greeting = Version { protocol: PROTOCOL_VERSION, operation: None };
        let mut connected = None;
        until("the helper answers", || {
            // Its socket is ours, and takes connections that nobody will ever answer.
            let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
            assert!(!state.contains(") Z "), "the helper has ended: {}", self.log());
            let stream = UnixStream::connect(&self.socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut connection = Connection::new(stream);
            connected = connection.call(&greeting).is_ok().then_some(connection);
            connected.is_some()
        });
        connected.unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state.join("helper.log")).unwrap_or_default()
    }

    pub(crate) fn inventory(&self) -> Inventory {
        self.connect().call(&InventoryRequest {}).unwrap()
    }

    /// Does something as the owner, in a thread that has the owner's rights and no others.
    pub(crate) fn as_owner<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        as_user(OWNER, act)
    }

    /// A VM with a folder, and a file for its changes over this image.
    pub(crate) fn vm(&mut self, image: &Path) -> Disk {
        let id = VmId::random();
        self.vms.push(id.clone());
        let folder = self.state.join(id.as_str());
        let image = image.to_owned();
        self.as_owner(|| {
            std::fs::create_dir(&folder).unwrap();
            let size = changes_size(std::fs::metadata(&image).unwrap().len());
            File::create(folder.join("changes.img")).unwrap().set_len(size).unwrap();
        });
        Disk { vm: id, folder, image }
    }

    /// An image of the owner's with this many MiB, every page of them another.
    pub(crate) fn image(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.state.join(name);
        self.as_owner(|| {
            let page = |at: u64| [at.to_le_bytes(); 512].concat();
            std::fs::write(&path, (0..mib << 8).flat_map(page).collect::<Vec<_>>()).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        });
        path
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.helper.try_wait().ok().flatten().is_some() {
            panic!("the helper ended by itself: {}", self.log());
        }
        let mut connection = self.connect();
        for vm in &self.vms {
            let _ = connection.call(&ProcessKillAll { vm: vm.clone() });
            let _ = connection.call(&SnapshotDelete { vm: vm.clone() });
        }
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log().as_bytes());
        }
        let _ = self.helper.kill();
        let _ = self.helper.wait();
        let name = self.state.file_name().unwrap_or_default().to_string_lossy().into_owned();
        run("ip", &["netns", "delete", &name]);
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// What a VM's root disk is made of.
pub(crate) struct Disk {
    pub(crate) vm: VmId,
    pub(crate) folder: PathBuf,
    pub(crate) image: PathBuf,
}

impl Disk {
    pub(crate) fn changes(&self) -> PathBuf {
        self.folder.join("changes.img")
    }

    /// Asks for the device, as the owner would: with the owner's own open files.
    pub(crate) fn create(&self, connection: &mut Connection) -> Result<bool, ConnectionError> {
        let files = as_user(OWNER, || [reading(&self.image), both(&self.changes())]);
        let files = files.each_ref().map(|file| file.as_fd());
        let request = SnapshotCreate { vm: self.vm.clone() };
        connection.call_with(&request, &files, |_| {}).map(|(reply, _)| reply.changed)
    }

    pub(crate) fn delete(&self, connection: &mut Connection) -> Result<bool, ConnectionError> {
        connection.call(&SnapshotDelete { vm: self.vm.clone() }).map(|reply| reply.changed)
    }

    /// The kernel's name for the device, found without the helper.
    pub(crate) fn device(&self) -> Option<PathBuf> {
        device_mapper_names()
            .into_iter()
            .find(|(name, _)| *name == self.vm.device_name())
            .map(|(_, path)| path)
    }
}

pub(crate) fn reading(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

pub(crate) fn both(path: &Path) -> OwnedFd {
    File::options().read(true).write(true).open(path).unwrap().into()
}

/// Every device of the device mapper: its name, and where it is.
pub(crate) fn device_mapper_names() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
    let name = |path: &Path| std::fs::read_to_string(path.join("dm/name")).ok();
    entries
        .filter_map(|entry| {
            let name = name(&entry.path())?.trim().to_owned();
            Some((name, Path::new("/dev").join(entry.file_name())))
        })
        .collect()
}

/// The files behind all loop devices.
pub(crate) fn loop_files() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok())
        .map(|path| path.trim().to_owned())
        .collect()
}

/// Runs in a thread of its own, whose ids nobody shares (nptl(7): only the C library keeps threads in step).
pub(crate) fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| {
        let thread = threads.spawn(move || {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn expect_the_test_host() {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let is_it = name.trim() == "test-host" && rustix::process::geteuid().is_root();
    assert!(
        is_it,
        "this changes the host it runs on: `cargo xtask test --ring host` runs it in one of its own"
    );
}

/// Everything of an installation that the helper goes by; the same for every test.
fn install() {
    // Where there is none, what is tried of it has to be refused before anything is started.
    let found = |name: &str| {
        let path = format!("/usr/local/bin/{name}");
        if Path::new(&path).exists() { path } else { "/usr/bin/false".to_owned() }
    };
    let (firecracker, jailer) = (found("firecracker"), found("jailer"));
    let text = format!(
        "version = \"{}\"\nowner = \"dev\"\nowner_home = \"/home/dev\"\nprograms = \"/usr/lib/banger\"\n\
         firecracker = \"{firecracker}\"\njailer = \"{jailer}\"\nnft = \"/usr/sbin/nft\"\n\
         bridge = \"br-banger\"\nrange = \"172.16.0.1/24\"\nowner_uid = {OWNER}\nowner_gid = {OWNER}\njailed = true\n\
         vm_uids = \"{VM_UIDS}\"\nfirewall = \"docker\"\n",
        banger_protocol::VERSION
    );
    put(&format!("{INSTALL}/install.toml"), &text);
    let rules = include_str!("../../../../packaging/58-banger.rules");
    if put("/run/udev/rules.d/58-banger.rules", rules) {
        run(find("udevadm").to_str().unwrap(), &["control", "--reload"]);
    }
    std::fs::create_dir_all("/etc/banger").unwrap();
    std::fs::create_dir_all(STATE).unwrap();
    for folder in ["/etc/banger", STATE, INSTALL] {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
}

/// Appears whole, since other tests read it; says whether it is new.
fn put(path: &str, text: &str) -> bool {
    if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        return false;
    }
    std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    let partial = format!("{path}.{}", std::process::id());
    std::fs::write(&partial, text).unwrap();
    std::fs::set_permissions(&partial, Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(partial, path).unwrap();
    true
}

fn spawn(listener: &UnixListener, name: &str) -> Child {
    let log = format!("{STATE}/{name}/helper.log");
    let log = File::options().append(true).create(true).open(log).unwrap();
    // Each of these becomes the next, so the child is the helper in the end.
    let mut command = Command::new(find("nsenter"));
    let over = format!("mount --bind {INSTALL} /etc/banger && exec \"$0\" --system");
    command.arg(format!("--net=/run/netns/{name}")).args(["unshare", "--mount", "sh", "-c", &over]);
    // The one that was brought to the host; where a test was built is not there.
    let programs = std::env::var_os("BANGER_BIN_DIR").expect("the programs to test are in BANGER_BIN_DIR");
    command.arg(Path::new(&programs).join("bangerd-root"));
    let socket: OwnedFd = listener.try_clone().unwrap().into();
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Waits until udev has looked at everything it was told of.
pub(crate) fn settle() {
    until("udev has settled", || run("udevadm", &["settle"]).status.success());
}
