//! Who hands out tokens to a registry's guests, as registries on the net have it: the registry says where to ask, and
//! believes what is signed with a key that it knows.

use crate::registry::CREDENTIALS;
use banger_e2e::{Invocation, Sandbox};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const SERVICE: &str = "test-service";
const ISSUER: &str = "test-issuer";

/// It runs as long as the test.
pub(crate) struct TokenServer {
    port: u16,
    certificate: PathBuf,
    handed_out: Arc<AtomicU64>,
}

impl TokenServer {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        let folder = sandbox.home().join("tokens");
        fs::create_dir(&folder).expect("the sandbox is writable");
        let (key, certificate) = (folder.join("key.pem"), folder.join("signer.pem"));
        let at = |path: &Path| path.display().to_string();
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=signer"];
        let files = ["-keyout", &at(&key), "-out", &at(&certificate)].map(str::to_owned);
        let _ =
            sandbox.tool("openssl", words.map(str::to_owned).into_iter().chain(files)).run().expect_success();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let handed_out = Arc::new(AtomicU64::new(0));
        let (signer, counter) = (Signer::new(&key, &certificate), Arc::clone(&handed_out));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                answer(&client, &signer, &counter);
            }
        });
        Self { port, certificate, handed_out }
    }

    /// What a registry has to be told.
    pub(crate) fn settings(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: http://127.0.0.1:{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
             rootcertbundle: {}\n",
            self.port,
            self.certificate.display()
        )
    }

    pub(crate) fn handed_out(&self) -> u64 {
        self.handed_out.load(Ordering::SeqCst)
    }
}

/// One request a connection: anybody may pull `open`, everything else takes [`CREDENTIALS`].
fn answer(mut client: &TcpStream, signer: &Signer, handed_out: &AtomicU64) {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let wanted = format!("Basic {}", base64(CREDENTIALS.as_bytes()));
    let is_known = headers
        .iter()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == wanted);
    let query = request.split(['?', ' ']).nth(2).unwrap_or_default();
    let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
    let scope = scope.replace("%3A", ":").replace("%2C", ",").replace("%2F", "/");
    let (status, body) = match scope.split(':').collect::<Vec<_>>()[..] {
        ["repository", name, actions] if is_known || (name == "open" && actions == "pull") => {
            handed_out.fetch_add(1, Ordering::SeqCst);
            ("200 OK", json!({"token": signer.token(name, actions), "expires_in": 300}))
        }
        _ => ("401 Unauthorized", json!({"details": "not you"})),
    };
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = client.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
}

struct Signer {
    key: PathBuf,
    /// In the form a token carries it: base64 of its DER.
    certificate: String,
}

impl Signer {
    fn new(key: &Path, certificate: &Path) -> Self {
        let text = fs::read_to_string(certificate).expect("it was just made");
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        Self { key: key.to_owned(), certificate: lines.collect() }
    }

    /// RFC 7519, signed by RS256.
    fn token(&self, repository: &str, actions: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let actions: Vec<&str> = actions.split(',').collect();
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": "tester", "aud": SERVICE, "iat": now, "nbf": now - 60, "exp": now + 300, "jti": "1",
            "access": [{"type": "repository", "name": repository, "actions": actions}]
        });
        let part = |bytes: &[u8]| base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_");
        let signed = format!("{}.{}", part(head.to_string().as_bytes()), part(claims.to_string().as_bytes()));
        let words = ["dgst".as_ref(), "-sha256".as_ref(), "-sign".as_ref(), self.key.as_os_str()];
        let openssl = Invocation::new(Path::new("/usr/bin/openssl"), words);
        let signature = openssl.stdin(signed.clone()).run().expect_success().stdout;
        format!("{signed}.{}", part(&signature))
    }
}

/// RFC 4648.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let encode = |chunk: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let mut group: Vec<char> = [18, 12, 6, 0].iter().map(|shift| digit(bits >> shift)).collect();
        group[chunk.len() + 1..].fill('=');
        group.into_iter().collect::<String>()
    };
    bytes.chunks(3).map(encode).collect()
}
