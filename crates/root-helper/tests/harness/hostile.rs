//! Every request with every parameter that is not in order, made of the table that says what there is.

use banger_protocol::root_api::{Inventory, InventoryRequest};
use banger_protocol::root_table::ROWS;
use banger_protocol::wire::{Connection, ErrorKind, Incoming, parse_incoming, send};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Asks for all of it over connections made by `connect`, and returns how much that was.
pub(crate) fn try_everything(connect: &dyn Fn() -> Connection, look: &dyn Fn() -> Inventory) -> usize {
    let mut tried = 0;
    let before = look();
    let mut attempt = |method: &str, params: &str, descriptors: &[BorrowedFd<'_>]| {
        tried += 1;
        let answer = ask(connect(), method, params, descriptors);
        assert!(is_nothing(&answer), "{method} {params}: {answer}");
        // Whoever was asked is still there, and holds what it held.
        assert_eq!(look(), before, "{method} {params}");
    };
    for row in &ROWS {
        for (name, kind) in row.parameters {
            for value in kind.hostile() {
                attempt(row.method, &row.with(name, value), &[]);
            }
        }
        for params in row.misshapen() {
            // These are harmless where all parameters have a default or there is none.
            let empty = params == "[]" || params == "{}" || params.starts_with("[{");
            if !empty {
                attempt(row.method, &params, &[]);
            }
        }
        if row.method != "version" {
            with_wrong_descriptors(row.method, &row.with("", ""), &mut attempt);
        }
    }
    for method in ["", "exec", "process.exec", "Version", "tap.create ", "snapshot.create\u{0}", "../version"]
    {
        attempt(method, "{}", &[]);
    }
    tried
}

/// Descriptors of everything that is not what is expected, one and two and far too many.
fn with_wrong_descriptors(
    method: &str,
    params: &str,
    attempt: &mut dyn FnMut(&str, &str, &[BorrowedFd<'_>]),
) {
    let (reader, _writer) = std::io::pipe().expect("a pipe can be made");
    let device = File::open("/dev/null").expect("every host has it");
    let root = File::open("/").expect("every host has it");
    let passwd = File::open("/etc/passwd").expect("every host has it");
    let path = rustix::fs::open("/etc/shadow", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let path: OwnedFd = path.expect("a name can be opened without its content");
    let all = [reader.as_fd(), device.as_fd(), root.as_fd(), passwd.as_fd(), path.as_fd()];
    for one in all {
        attempt(method, params, &[one]);
        attempt(method, params, &[one, one]);
    }
    attempt(method, params, &[device.as_fd(); 64]);
}

/// One request on a connection that has greeted, its answer as text.
fn ask(mut connection: Connection, method: &str, params: &str, descriptors: &[BorrowedFd<'_>]) -> String {
    let method = serde_json::to_string(method).expect("a text is JSON");
    let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":{method},\"params\":{params}}}\n");
    send(connection.stream(), line.as_bytes(), descriptors).expect("it is listened to");
    let line = connection.read_line().expect("it answers").expect("it answers");
    String::from_utf8(line.bytes).expect("an answer is text")
}

fn is_nothing(answer: &str) -> bool {
    match parse_incoming(answer.as_bytes()) {
        Ok(Incoming::Response { outcome: Err(error), .. }) => error.kind != ErrorKind::OperationFailed,
        // Nobody of the kind is there, and nothing was done.
        Ok(Incoming::Response { outcome: Ok(reply), .. }) => {
            matches!(reply.get(), r#"{"changed":false}"# | "[]")
        }
        Ok(Incoming::Event(_)) | Err(_) => false,
    }
}

pub(crate) fn inventory(mut connection: Connection) -> Inventory {
    connection.call(&InventoryRequest {}).expect("it says what it holds")
}
