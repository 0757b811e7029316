//! A server that answers as a test says, remembers what it was asked, and knows nothing of registries.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// It runs as long as the test.
pub(crate) struct Listener {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What is written to whoever asks, piece by piece, until they have enough.
pub(crate) type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// One answer, whose head lacks its last lines.
pub(crate) fn reply(head: &str, body: &[u8]) -> Pieces {
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Box::new([head.into_bytes(), body.to_vec()].into_iter())
}

impl Listener {
    /// One request a connection: its first line and its headers are given to `answer`.
    pub(crate) fn start(answer: impl Fn(&str) -> Pieces + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(&client, &log, &*answer));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Everything it was asked, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panics with it").clone()
    }
}

fn serve(mut client: &TcpStream, log: &Mutex<Vec<String>>, answer: &(dyn Fn(&str) -> Pieces + Sync)) {
    let lines = BufReader::new(client).lines().map_while(Result::ok);
    let request: String = lines.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    log.lock().expect("nobody panics with it").push(request.clone());
    for piece in answer(&request) {
        if client.write_all(&piece).is_err() {
            return;
        }
    }
}
