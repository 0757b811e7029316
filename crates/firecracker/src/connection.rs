//! One HTTP connection over Firecracker's socket, used for call after call.
//!
//! The socket is looked up in the VM's folder by descriptor: the folder's own path may be longer than a socket
//! address can hold, and a symlink in the socket's place is not followed, since whoever took over the VMM could plant
//! one to another socket of ours.

use crate::error::{ApiError, Call, ConnectError, Fault};
use crate::machine::Request;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// The socket's name in the VM's folder, the same for every VM.
pub const API_SOCKET: &str = "api.sock";

/// For one call and its answer. The longest, `InstanceStart`, reads the kernel and the initrd and makes the machine: more than 10 s
/// were seen where KVM is emulated itself and busy. One that takes longer than this is stuck.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// From the start of the process to its socket, a few milliseconds on an idle host.
const UP_LIMIT: Duration = Duration::from_secs(60);
/// Far above every answer, which are lines of a few hundred bytes.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Pauses between looks for the socket. There is nothing better to wait for: inotify tells when the socket's name
/// appears, and that is before Firecracker listens on it. The first look after a millisecond finds most of them.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Tries once.
    pub(crate) async fn open(folder: &Path) -> Result<Self, ConnectError> {
        let folder = open_folder(folder)?;
        let stream = connect(&folder).await?;
        Self::over(stream).await
    }

    /// Tries until the process listens.
    pub(crate) async fn open_when_up(folder: &Path) -> Result<Self, ConnectError> {
        let folder = open_folder(folder)?;
        let deadline = Instant::now() + UP_LIMIT;
        let mut pause = FIRST_PAUSE;
        loop {
            match connect(&folder).await {
                Ok(stream) => return Self::over(stream).await,
                Err(ConnectError::Socket(error)) if is_not_yet(&error) => {
                    if Instant::now() >= deadline {
                        return Err(ConnectError::NotUp { within: UP_LIMIT, last: error });
                    }
                }
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn over(stream: UnixStream) -> Result<Self, ConnectError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
        // Ends with the sender, or when Firecracker closes; the next call then says so.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends one request and returns the body of its answer, empty when there is none.
    pub(crate) async fn call(&mut self, request: &Request) -> Result<Bytes, ApiError> {
        let silent = |_| ApiError::Silent { call: request.call.clone(), within: CALL_LIMIT };
        timeout(CALL_LIMIT, self.exchange(request)).await.map_err(silent)?
    }

    async fn exchange(&mut self, request: &Request) -> Result<Bytes, ApiError> {
        let call = &request.call;
        let broken = |source| ApiError::Broken { call: call.clone(), source };
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(http(request)).await.map_err(broken)?;
        let status = response.status();
        let body = read(response.into_body(), call).await?;
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
            StatusCode::BAD_REQUEST => Err(ApiError::Refused { call: call.clone(), fault: fault(&body) }),
            status => Err(ApiError::Unexpected { call: call.clone(), status: status.as_u16() }),
        }
    }
}

fn open_folder(folder: &Path) -> Result<OwnedFd, ConnectError> {
    rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ConnectError::Folder(errno.into()))
}

async fn connect(folder: &OwnedFd) -> Result<UnixStream, ConnectError> {
    let failed = |errno: rustix::io::Errno| ConnectError::Socket(errno.into());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::openat(folder, API_SOCKET, flags, Mode::empty()).map_err(failed)?;
    let found = rustix::fs::fstat(&socket).map_err(failed)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(ConnectError::NotASocket);
    }
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    UnixStream::connect(path).await.map_err(ConnectError::Socket)
}

/// The name does not exist, or nobody listens on it yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn http(request: &Request) -> hyper::Request<Full<Bytes>> {
    let body = request.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    hyper::Request::builder()
        .method(request.call.method.as_str())
        .uri(request.call.path.as_ref())
        .header("Host", "localhost")
        .header("Accept", "application/json")
        .body(Full::new(body))
        .expect("methods are literals, and paths are literals with checked names behind")
}

async fn read(body: Incoming, call: &Call) -> Result<Bytes, ApiError> {
    match Limited::new(body, MOST_ANSWER_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::TooLong { call: call.clone(), limit: MOST_ANSWER_BYTES })
        }
        Err(error) => {
            let source =
                *error.downcast().expect("a limited body fails by its limit or as the body it limits");
            Err(ApiError::Broken { call: call.clone(), source })
        }
    }
}

/// What Firecracker says about what it refuses. Requests that are no proper HTTP it answers in another form, which
/// is not even JSON; then it is the answer as it came.
fn fault(body: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Body {
        fault_message: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => Fault::new(&body.fault_message),
        Err(_) => Fault::new(&String::from_utf8_lossy(body)),
    }
}
