//! The guest in `fake-firecracker`, as the host meets it: through the vsock's socket and the API.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::{AGENT_PORT, Exec, Health, NOTICE_PORT, Notice, Request};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a guest that stands still is watched.
const A_WHILE: Duration = Duration::from_millis(100);
const START: &str = r#"{"action_type":"InstanceStart"}"#;

/// A Firecracker with a machine that is not started yet, and the host's ear for its guest.
struct Vmm {
    child: Child,
    notices: UnixListener,
    place: TempDir,
}

impl Vmm {
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    fn new(behaviour: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("vmlinux"), "kernel").unwrap();
        std::fs::write(path("work.img"), behaviour).unwrap();
        let notices = UnixListener::bind(path(&format!("v.sock_{NOTICE_PORT}"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-firecracker"));
        command.args(["--api-sock", "api.sock"]).current_dir(place.path()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // It says so and then listens.
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let vmm = Self { child, notices, place };
        while vmm.connect("api.sock").is_err() {
            std::thread::yield_now();
        }
        for (path, body) in [
            ("/boot-source", r#"{"kernel_image_path":"vmlinux","boot_args":"quiet"}"#),
            ("/drives/work", r#"{"drive_id":"work","path_on_host":"work.img","is_root_device":false}"#),
            ("/vsock", r#"{"guest_cid":3,"uds_path":"v.sock"}"#),
        ] {
            assert_eq!(vmm.ask("PUT", path, body), 204);
        }
        vmm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn connect(&self, socket: &str) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.path(socket))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> u16 {
        let mut stream = self.connect("api.sock").unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn start(&self) {
        assert_eq!(self.ask("PUT", "/actions", START), 204);
    }

    fn notices(&self) -> impl Iterator<Item = Notice> {
        let (stream, _) = self.notices.accept().unwrap();
        BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// A connection to the guest's agent.
    fn agent(&self) -> UnixStream {
        let mut stream = self.connect("v.sock").unwrap();
        writeln!(stream, "CONNECT {AGENT_PORT}").unwrap();
        stream
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accepted(mut stream: UnixStream) -> UnixStream {
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"OK 1073741824\n");
    stream
}

#[test]
fn a_guest_tells_the_host_that_it_is_up_and_answers() {
    let vmm = Vmm::new("{}");
    vmm.start();
    let notices: Vec<Notice> = vmm.notices().take(2).collect();
    assert!(matches!(notices[..], [Notice::Agent { .. }, Notice::Usable { .. }]), "{notices:?}");
    let mut stream = accepted(vmm.agent());
    frame::write_json(&mut stream, Kind::Request, &Request::Health).unwrap();
    let answer = frame::read(&mut stream).unwrap().unwrap();
    assert!(serde_json::from_slice::<Health>(&answer.payload).unwrap().usable);
}

#[test]
fn a_guest_answers_nobody_while_it_is_paused_and_everybody_afterwards() {
    let vmm = Vmm::new("{}");
    vmm.start();
    assert_eq!(vmm.notices().take(2).count(), 2);
    assert_eq!(vmm.ask("PATCH", "/vm", r#"{"state":"Paused"}"#), 204);
    let mut waiting = vmm.agent();
    waiting.set_read_timeout(Some(A_WHILE)).unwrap();
    assert_eq!(waiting.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(vmm.ask("PATCH", "/vm", r#"{"state":"Resumed"}"#), 204);
    waiting.set_read_timeout(None).unwrap();
    accepted(waiting);
}

#[test]
fn a_guest_that_resets_its_machine_ends_the_process() {
    let mut vmm = Vmm::new("{}");
    vmm.start();
    assert_eq!(vmm.notices().take(2).count(), 2);
    let mut stream = accepted(vmm.agent());
    let exec: Exec = serde_json::from_str(r#"{"argv":["reboot"],"stdin":false}"#).unwrap();
    frame::write_json(&mut stream, Kind::Request, &Request::Exec(exec)).unwrap();
    assert_eq!(vmm.child.wait().unwrap().code(), Some(0));
    assert!(vmm.path("api.sock").exists() && vmm.path("v.sock").exists());
}

#[test]
fn a_guest_that_cannot_come_up_says_so_and_ends_the_process() {
    let mut vmm = Vmm::new(r#"{"boot":"fails"}"#);
    vmm.start();
    assert!(matches!(vmm.notices().next(), Some(Notice::BootFailed { .. })));
    assert_eq!(vmm.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_machine_that_is_made_to_be_refused_is_not_started_and_the_process_goes_on() {
    let vmm = Vmm::new(r#"{"vmm":"refuses"}"#);
    assert_eq!(vmm.ask("PUT", "/actions", START), 400);
    assert_eq!(vmm.ask("PATCH", "/vm", r#"{"state":"Paused"}"#), 400);
    std::fs::write(vmm.path("work.img"), "ext4").unwrap();
    assert_eq!(vmm.ask("PUT", "/actions", START), 400);
}

#[test]
fn the_kernel_s_command_line_is_on_the_console() {
    let mut vmm = Vmm::new(r#"{"vmm":"ends"}"#);
    vmm.start();
    vmm.child.wait().unwrap();
    let mut said = String::new();
    vmm.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("fake guest: quiet pci=off "), "{said}");
}
