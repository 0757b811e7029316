//! Asking without the client, to see what is answered, byte by byte, and to ask what it never would.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// One request over a connection of its own.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    if !body.is_empty() {
        request.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    stream.write_all(&request).unwrap();
    receive(&stream)
}

pub(crate) fn receive(stream: &UnixStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok());
    let status = status.unwrap_or_else(|| panic!("`{line}` is no beginning of an answer"));
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim().split_once(": ") {
            None => break,
            Some(("Content-Length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Answer { status, text: String::from_utf8(body).unwrap() }
}

impl Answer {
    /// The words of a refusal, which is of status 400 and has nothing else in it.
    pub(crate) fn fault(&self) -> String {
        assert_eq!(self.status, 400, "{self:?}");
        let body: Value = serde_json::from_str(&self.text).unwrap();
        let fields = body.as_object().unwrap();
        assert_eq!(fields.len(), 1, "{self:?}");
        fields["fault_message"].as_str().unwrap().to_owned()
    }
}
