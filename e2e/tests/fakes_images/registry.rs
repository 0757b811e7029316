//! A registry on this machine, and a line to it that can be cut.

use banger_e2e::{Layout, Running, Sandbox};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// `tester`, whose password is `open sesame`.
const ACCOUNT: &str = "tester:$2y$05$XPs1pEpmf6DKv1AFlFNCd.eWVcpGkPQyBTTDFdfeOZgDIZF1Z4YBG\n";
pub(crate) const CREDENTIALS: &str = "tester:open sesame";

/// Debian's `docker-registry`. It ends when this is dropped, and has to be dropped before its sandbox.
pub(crate) struct Registry {
    folder: PathBuf,
    port: u16,
    _process: Running,
}

impl Registry {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, "")
    }

    /// One that lets nobody in but [`CREDENTIALS`].
    pub(crate) fn start_closed(sandbox: &Sandbox) -> Self {
        let accounts = sandbox.home().join("accounts");
        fs::write(&accounts, ACCOUNT).expect("the sandbox is writable");
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", accounts.display());
        Self::start_with(sandbox, &auth)
    }

    /// One whose configuration ends so, inside the section `http`.
    pub(crate) fn start_with(sandbox: &Sandbox, auth: &str) -> Self {
        Self::start_in(sandbox, "registry", auth)
    }

    /// The same, in a folder of its own.
    pub(crate) fn start_in(sandbox: &Sandbox, name: &str, auth: &str) -> Self {
        let folder = sandbox.home().join(name);
        let port = free_port();
        let config = sandbox.home().join(format!("{name}.yml"));
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            folder.display()
        );
        fs::write(&config, text).expect("the sandbox is writable");
        let process = sandbox.tool("docker-registry", ["serve", &config.display().to_string()]).start();
        sandbox.until("the registry listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { folder, port, _process: process }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Copies an image of a layout here, as others would.
    pub(crate) fn fill(&self, sandbox: &Sandbox, layout: &str, name: &str) {
        let target = format!("docker://{}/{name}", self.address());
        let layout = format!("oci:{}", sandbox.home().join(layout).display());
        let copy = [
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            "--dest-creds",
            CREDENTIALS,
            &layout,
            &target,
        ];
        let _ = sandbox.tool("skopeo", copy).run().expect_success();
    }

    /// Where the registry keeps its largest blob.
    pub(crate) fn largest_blob(&self) -> PathBuf {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.join("docker/registry/v2/blobs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the registry's folder is readable").flatten() {
                match entry.metadata() {
                    Ok(about) if about.is_dir() => folders.push(entry.path()),
                    Ok(about) => found.push((about.len(), entry.path())),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found.pop().expect("the registry has a blob").1
    }
}

/// Free a moment ago; another test has to be very quick to take it.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

/// A relay in front of a registry that counts what comes back and says when it is enough.
pub(crate) struct Line {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    passed: AtomicU64,
    /// Of one connection, before it is cut.
    per_connection: AtomicU64,
    /// Of all connections, before nothing passes any more but connections stay.
    in_all: AtomicU64,
    /// Connections do not stay then.
    vanishes: AtomicBool,
}

impl Line {
    pub(crate) fn to(registry: &Registry) -> Self {
        Self::to_port(registry.port)
    }

    pub(crate) fn to_port(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
                let state = Arc::clone(&shared);
                thread::spawn(move || relay(client, server, &state));
            }
        });
        let line = Self { port, state };
        line.open();
        line
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets everything pass.
    pub(crate) fn open(&self) {
        self.state.per_connection.store(u64::MAX, Ordering::SeqCst);
        self.state.in_all.store(u64::MAX, Ordering::SeqCst);
    }

    /// Cuts every connection after this many bytes.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.per_connection.store(bytes, Ordering::SeqCst);
    }

    /// Goes silent after this many bytes more, cutting nothing.
    pub(crate) fn stall_after(&self, bytes: u64) {
        self.state.in_all.store(self.passed() + bytes, Ordering::SeqCst);
    }

    /// After this many bytes more every connection ends, and no other brings anything.
    pub(crate) fn vanish_after(&self, bytes: u64) {
        self.state.vanishes.store(true, Ordering::SeqCst);
        self.stall_after(bytes);
    }

    /// Bytes that came back from the registry.
    pub(crate) fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }
}

fn relay(client: TcpStream, server: TcpStream, state: &State) {
    let (Ok(mut requests), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut server, mut client) = (server, client);
    let mut buffer = [0; 16 * 1024];
    let mut own = 0;
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if state.passed.load(Ordering::SeqCst) >= state.in_all.load(Ordering::SeqCst) {
            if !state.vanishes.load(Ordering::SeqCst) {
                // Silent until the other end has had enough.
                let _ = client.peek(&mut [0]);
            }
            break;
        }
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
        own += read as u64;
        state.passed.fetch_add(read as u64, Ordering::SeqCst);
        if own >= state.per_connection.load(Ordering::SeqCst) {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// A layer of bytes that no compression makes smaller.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A layout with one image of these layers.
pub(crate) fn layout(sandbox: &Sandbox, name: &str, layers: &[Vec<u8>]) {
    let _ = Layout::new(&sandbox.home().join(name)).add(
        "v1",
        "amd64",
        &serde_json::json!({"User": "app"}),
        layers,
    );
}
