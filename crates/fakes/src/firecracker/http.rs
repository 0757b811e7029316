//! As much HTTP as Firecracker's own server knows: requests one after the other on a connection, with a length.
//!
//! What is no proper request is answered with an `error` that is not quite JSON, and the connection's end.

use super::answer::{Answer, Then};
use super::api::Vmm;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// The answer to one connection more than there may be.
pub(super) const TOO_MANY: &[u8] = b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n{ \"error\": \"Too many open connections\" }";
/// The longest body, in bytes.
const LONGEST_BODY: usize = 51200;
/// The longest line of a request's head, its ending included.
const LONGEST_LINE: u64 = 1024;

/// A request with a proper head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the connection ended")]
    Closed,
    #[error(transparent)]
    Io(io::Error),
    #[error("Invalid request.")]
    Malformed,
    #[error("Invalid HTTP Method: Unsupported HTTP method.")]
    Method,
    #[error("Request payload with size {0} is larger than the limit of {LONGEST_BODY} allowed by server.")]
    TooLong(usize),
}

pub(super) fn serve(stream: UnixStream, vmm: &Mutex<Vmm>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let request = match read(&mut reader) {
            Ok(request) => request,
            Err(ReadError::Closed) => return Ok(()),
            Err(ReadError::Io(error)) => return Err(error),
            Err(error) => {
                // A line break within a string.
                let body = format!("{{ \"error\": \"{error}\nThat was the last answer.\" }}");
                return write(&mut stream, 400, &body);
            }
        };
        let Answer { status, body, then } =
            vmm.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
        write(&mut stream, status, &body)?;
        if then == Then::TurnOff {
            vmm.lock().unwrap_or_else(PoisonError::into_inner).turn_off();
        }
    }
}

fn write(stream: &mut UnixStream, status: u16, body: &str) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n");
    if status != 204 {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body;
    stream.write_all(text.as_bytes())
}

fn read(reader: &mut BufReader<UnixStream>) -> Result<Request, ReadError> {
    let first = line(reader)?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return Err(ReadError::Malformed) };
    let method = match method {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => return Err(ReadError::Method),
    };
    let mut length = 0;
    loop {
        let header = line(reader)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or(ReadError::Malformed)?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| ReadError::Malformed)?;
        }
    }
    if length > LONGEST_BODY {
        // The real one takes it for further requests.
        io::copy(&mut reader.take(length as u64), &mut io::sink()).map_err(ReadError::Io)?;
        return Err(ReadError::TooLong(length));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).map_err(ReadError::Io)?;
    Ok(Request { method, path: path.to_owned(), body: (length > 0).then_some(body) })
}

fn line(reader: &mut BufReader<UnixStream>) -> Result<String, ReadError> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(ReadError::Io)?;
    if line.is_empty() {
        return Err(ReadError::Closed);
    }
    let line = String::from_utf8(line).map_err(|_| ReadError::Malformed)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or(ReadError::Malformed)
}
