//! Registries that are trusted by a certificate of their own, or that trust nobody without a token.

use crate::listener::{Listener, reply};
use crate::registry::{CREDENTIALS, Registry, free_port, layout};
use crate::tokens::{TokenServer, base64};
use banger_e2e::{Finished, LayerTar, Sandbox};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

fn pull(sandbox: &Sandbox, reference: &str) -> Finished {
    sandbox.banger(["image", "pull", reference, "--size", "64M"]).run()
}

fn small(sandbox: &Sandbox) {
    layout(sandbox, "one", &[LayerTar::new().file("a", b"a").bytes()]);
}

/// An authority that nobody else knows, and what it says that 127.0.0.1 is.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(sandbox: &Sandbox) -> Self {
        let folder = sandbox.home().join("authority");
        fs::create_dir(&folder).expect("the sandbox is writable");
        let openssl = |words: &str| {
            let words = words.replace("DIR", &folder.display().to_string());
            let _ = sandbox.tool("openssl", words.split(' ')).run().expect_success();
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {key} -keyout DIR/ca.key -out DIR/ca.crt -days 2 -subj /CN=ours"));
        openssl(&format!(
            "req -new {key} -keyout DIR/key.pem -out DIR/request -subj /CN=registry -addext subjectAltName=IP:127.0.0.1"
        ));
        openssl(
            "x509 -req -in DIR/request -CA DIR/ca.crt -CAkey DIR/ca.key -CAcreateserial -copy_extensions copy -days 2 \
             -out DIR/cert.pem",
        );
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Has this user trust it for one registry, as Docker has one say so.
    fn trust(&self, sandbox: &Sandbox, registry: &str) {
        let folder = certificates_of(sandbox, registry);
        fs::create_dir_all(&folder).expect("the sandbox is writable");
        fs::copy(self.folder.join("ca.crt"), folder.join("ca.crt")).expect("the sandbox is writable");
    }
}

fn certificates_of(sandbox: &Sandbox, registry: &str) -> PathBuf {
    let config = sandbox.home().with_file_name("config");
    config.join("docker/certs.d").join(registry)
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_by_what_lies_in_dockers_folder() {
    let sandbox = Sandbox::with_fake_guests();
    let authority = Authority::new(&sandbox);
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        authority.file("cert.pem"),
        authority.file("key.pem")
    );
    let registry = Registry::start_with(&sandbox, &tls);
    small(&sandbox);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let reference = format!("{}/app:v1", registry.address());

    // Somebody else's word is none.
    let stranger = Sandbox::with_fake_guests();
    let other = Authority::new(&stranger);
    other.trust(&sandbox, &registry.address());
    let refused = pull(&sandbox, &reference).expect_code(1);
    assert!(refused.stderr_text().contains("certificate"), "{}", refused.stderr_text());

    authority.trust(&sandbox, &registry.address());
    assert_eq!(pull(&sandbox, &reference).expect_success().stdout_text(), "app-v1\n");

    fs::write(certificates_of(&sandbox, &registry.address()).join("more.crt"), "no certificate")
        .expect("writable");
    let refused = pull(&sandbox, &format!("{}/app:v2", registry.address())).expect_code(1);
    assert!(refused.stderr_text().contains("more.crt"), "{}", refused.stderr_text());
}

#[test]
fn a_registry_that_sends_us_on_to_plain_http_is_not_followed() {
    let sandbox = Sandbox::with_fake_guests();
    let authority = Authority::new(&sandbox);
    let plain = Registry::start(&sandbox);
    small(&sandbox);
    plain.fill(&sandbox, "one:v1", "app:v1");
    let port = free_port();
    let script = format!(
        "import http.server, ssl\n\
         class Sends(http.server.BaseHTTPRequestHandler):\n    \
         def do_GET(self):\n        \
         self.send_response(307)\n        \
         self.send_header('Location', 'http://{}' + self.path)\n        \
         self.send_header('Content-Length', '0')\n        \
         self.end_headers()\n    \
         do_HEAD = do_GET\n\
         server = http.server.ThreadingHTTPServer(('127.0.0.1', {port}), Sends)\n\
         trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         trust.load_cert_chain('{}', '{}')\n\
         server.socket = trust.wrap_socket(server.socket, server_side=True)\n\
         server.serve_forever()\n",
        plain.address(),
        authority.file("cert.pem"),
        authority.file("key.pem"),
    );
    let server = sandbox.tool("python3", ["-c", &script]).start();
    sandbox.until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let registry = format!("127.0.0.1:{port}");
    authority.trust(&sandbox, &registry);
    let refused = pull(&sandbox, &format!("{registry}/app:v1")).expect_code(1);
    let text = refused.stderr_text();
    assert!(text.contains("sent us on to plain http"), "{text}");
    drop(server);
    // It would have been there.
    let _ = pull(&sandbox, &format!("{}/app:v1", plain.address())).expect_success();
}

#[test]
fn a_registry_that_asks_who_greets_it_may_give_images_to_anybody() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    small(&sandbox);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let behind = registry.address();
    let front = Listener::start(move |request| match request.starts_with("GET /v2/ ") {
        true => reply("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n", b"{}"),
        false => {
            let path = request.split(' ').nth(1).unwrap_or_default();
            reply(&format!("HTTP/1.1 307 Moved\r\nLocation: http://{behind}{path}\r\n"), b"")
        }
    });
    let _ = pull(&sandbox, &format!("{}/app:v1", front.address())).expect_success();
}

#[test]
fn a_registry_that_wants_a_token_is_brought_one() {
    let sandbox = Sandbox::with_fake_guests();
    let tokens = TokenServer::start(&sandbox);
    let registry = Registry::start_with(&sandbox, &tokens.settings());
    small(&sandbox);
    for name in ["open:v1", "closed:v1"] {
        registry.fill(&sandbox, "one:v1", name);
    }
    let before = tokens.handed_out();
    // Who is nobody gets one for what everybody may have, and none for the rest.
    let _ = pull(&sandbox, &format!("{}/open:v1", registry.address())).expect_success();
    assert!(tokens.handed_out() > before, "nobody asked for a token");
    let refused = pull(&sandbox, &format!("{}/closed:v1", registry.address())).expect_code(1);
    assert!(refused.stderr_text().contains("does not let us in"), "{}", refused.stderr_text());

    log_in(&sandbox, &registry.address());
    let _ = pull(&sandbox, &format!("{}/closed:v1", registry.address())).expect_success();
}

fn log_in(sandbox: &Sandbox, registry: &str) {
    let folder: &Path = &sandbox.home().join(".docker");
    fs::create_dir(folder).expect("the sandbox is writable");
    let auth = base64(CREDENTIALS.as_bytes());
    fs::write(folder.join("config.json"), format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#))
        .expect("the sandbox is writable");
}
