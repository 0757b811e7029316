//! The daemon's socket without the command: what `docs/api.md` says, and what it does not allow.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes read at once; an answer has at most 1 MiB.
const PIECE: usize = 256 << 10;
/// What an answer is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection on which one request is made at a time.
#[derive(Debug)]
pub struct Rpc {
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Rpc {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|error| panic!("nobody at {}: {error}", socket.display()));
        stream.set_read_timeout(Some(LIMIT)).expect("a socket takes a time limit");
        Self { stream: BufReader::with_capacity(PIECE, stream), next_id: 1 }
    }

    /// Connects and greets.
    ///
    /// # Panics
    /// When the greeting is refused.
    #[must_use]
    pub fn greeted(socket: &Path) -> Self {
        let mut rpc = Self::connect(socket);
        let greeting = json!({"protocol": 1, "version": "test"});
        rpc.call("version", &greeting).unwrap_or_else(|error| panic!("the greeting was refused: {error}"));
        rpc
    }

    /// Asks and returns the result, or the error's `data`; events on the way are dropped.
    ///
    /// # Errors
    /// What the daemon refused with; `null` when it closed instead of answering.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let id = self.send(method, params);
        while let Some(line) = self.read_line() {
            if line["id"] == id || (line["id"] == 0 && !line["error"].is_null()) {
                return if line["error"].is_null() {
                    Ok(line["result"].clone())
                } else {
                    Err(line["error"]["data"].clone())
                };
            }
        }
        Err(Value::Null)
    }

    /// Starts an operation and waits for its end.
    ///
    /// # Errors
    /// As [`Rpc::call`], and what the operation failed with.
    pub fn operate(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let started = self.call(method, params)?;
        self.watch(operation_of(&started))
    }

    /// Waits for the end of an operation.
    ///
    /// # Errors
    /// As [`Rpc::operate`].
    pub fn watch(&mut self, operation: &Value) -> Result<Value, Value> {
        let view = self.call("operation.watch", &json!({ "operation": operation }))?;
        match view["state"].get("succeeded") {
            Some(result) => Ok(result.clone()),
            None => Err(view["state"].get("failed").cloned().unwrap_or(view["state"].clone())),
        }
    }

    /// Asks without waiting for an answer; returns the request's id.
    ///
    /// # Panics
    /// When the daemon is gone.
    pub fn send(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send_raw(format!("{request}\n").as_bytes()).expect("the daemon takes a request");
        id
    }

    /// # Errors
    /// When the daemon has closed the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// How many bytes an answer has that is not looked into.
    ///
    /// # Panics
    /// When the daemon is gone.
    pub fn weigh(&mut self, method: &str, params: &Value) -> usize {
        self.send(method, params);
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the daemon answers")
    }

    /// The next line; `None` when the daemon closed.
    ///
    /// # Panics
    /// When it is no JSON, or does not come.
    pub fn read_line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Ok(_) => {
                Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}")))
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// The id of an operation in the answer that started it.
#[must_use]
pub fn operation_of(started: &Value) -> &Value {
    match &started["operation"] {
        // `vm.create` answers with the VM's id and name as well.
        Value::Object(inner) => &inner["operation"],
        id => id,
    }
}
