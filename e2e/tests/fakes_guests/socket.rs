//! The daemon's socket: who may speak on it, and in which form.

use banger_e2e::{Rpc, Sandbox};
use rustix::process::{Uid, geteuid};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

const LONGEST_LINE: usize = 1 << 20;

fn daemon() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_fake_guests();
    drop(sandbox.rpc());
    let socket = sandbox.socket("bangerd.sock");
    (sandbox, socket)
}

/// Sends one line and returns the refusal, after which the daemon must have closed.
fn refused(socket: &std::path::Path, line: &[u8]) -> Value {
    let mut rpc = Rpc::connect(socket);
    // The daemon may stop listening in the middle of it.
    let _ = rpc.send_raw(line);
    let answer = rpc.read_line().expect("a refusal is an answer");
    assert_eq!(rpc.read_line(), None, "the connection stays open");
    answer["error"]["data"].clone()
}

#[test]
fn the_first_word_must_be_the_version_and_it_must_be_ours() {
    let (_sandbox, socket) = daemon();
    let call =
        |rpc: &mut Rpc, method: &str, params: &Value| rpc.call(method, params).expect_err("it is refused");

    let error = call(&mut Rpc::connect(&socket), "vm.list", &json!({}));
    assert_eq!(error["kind"], "bad_version", "{error}");
    let error = call(&mut Rpc::connect(&socket), "version", &json!({"protocol": 99, "version": "9"}));
    assert_eq!(error["kind"], "bad_version", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("banger daemon stop")), "{error}");
    let error = call(&mut Rpc::connect(&socket), "version", &json!({"protocol": 1}));
    assert_eq!(error["kind"], "bad_request", "{error}");
}

#[test]
fn a_line_that_is_no_request_is_refused_and_ends_the_connection() {
    let (_sandbox, socket) = daemon();
    let overlong = vec![b'x'; LONGEST_LINE];
    let unknown = br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"extra":1}"#;
    let old = br#"{"jsonrpc":"1.0","id":1,"method":"ping","params":{}}"#;
    for line in [
        &overlong[..],
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        &[&unknown[..], b"\n"].concat(),
        &[&old[..], b"\n"].concat(),
    ] {
        let error = refused(&socket, line);
        assert_eq!(
            error["kind"],
            "bad_request",
            "{}: {error}",
            String::from_utf8_lossy(&line[..line.len().min(80)])
        );
    }
    let nested = [b"[".repeat(LONGEST_LINE / 2), b"\n".to_vec()].concat();
    assert_eq!(refused(&socket, &nested)["kind"], "bad_request");
    assert!(Rpc::greeted(&socket).call("ping", &json!({})).is_ok(), "it took harm");
}

#[test]
fn a_wrong_request_is_refused_by_name_and_the_next_one_is_answered() {
    let (_sandbox, socket) = daemon();
    let mut rpc = Rpc::greeted(&socket);
    for (method, params, kind, word) in [
        ("vm.explode", json!({}), "unknown_method", "vm.explode"),
        ("vm.show", json!({}), "bad_request", "vm"),
        ("vm.show", json!({"vm": "dev", "colour": "red"}), "bad_request", "colour"),
        ("vm.create", json!({"nmae": "dev"}), "bad_request", "nmae"),
        ("vm.create", json!({"name": "../etc"}), "bad_request", "vm.create"),
        ("vm.create", json!({"image": "a/b"}), "bad_request", "vm.create"),
        ("vm.create", json!({"vcpu": -1}), "bad_request", "vm.create"),
        ("vm.show", json!({"vm": "nosuch"}), "not_found", "nosuch"),
        ("operation.status", json!({"operation": "000000000000"}), "not_found", "000000000000"),
        (
            "image.ingest",
            json!({"name": "x", "source": "y", "kernel": "z", "layers": [{"length": 1}]}),
            "bad_request",
            "descriptor",
        ),
        (
            "image.ingest",
            json!({"name": "x", "source": "y", "kernel": "z", "layers": []}),
            "bad_request",
            "layers",
        ),
    ] {
        let error = rpc.call(method, &params).expect_err("it is refused");
        assert_eq!(error["kind"], kind, "{method} {params}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(word)), "{method}: {error}");
    }
    assert_eq!(rpc.call("ping", &json!({})), Ok(json!({})));
    assert_eq!(rpc.call("vm.list", &json!({})), Ok(json!([])));
}

#[test]
fn the_sockets_are_their_owners_alone() {
    let (sandbox, socket) = daemon();
    let _ = sandbox.banger(["vm", "run", "--rm", "--", "true"]).run().expect_success();
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let folder = socket.parent().expect("it lies in a folder");
    assert_eq!(mode(folder), 0o700);
    for name in ["bangerd.sock", "bangerd-root.sock"] {
        assert_eq!(mode(&folder.join(name)) & 0o077, 0, "{name}");
    }
}

/// Only root can become somebody else. For everybody else the modes above are what can be looked at.
#[test]
fn a_stranger_who_gets_as_far_as_the_socket_is_told_nothing() {
    let (sandbox, socket) = daemon();
    if !geteuid().is_root() {
        return;
    }
    // Reached by way of a descriptor, so that only these two have to be opened to everybody.
    let folder = socket.parent().expect("it lies in a folder").to_owned();
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("root may");
    };
    open(&folder);
    open(&socket);
    let held = fs::File::open(&folder).expect("root may");
    let path = format!("/proc/self/fd/{}/bangerd.sock", std::os::fd::AsRawFd::as_raw_fd(&held));
    let answer = std::thread::spawn(move || {
        let nobody = Uid::from_raw(65534);
        // Of this thread alone; it has nothing to do afterwards.
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
        let mut rpc = Rpc::connect(std::path::Path::new(&path));
        let answer = rpc.read_line().expect("a refusal is an answer");
        assert_eq!(rpc.read_line(), None, "the connection stays open");
        answer
    });
    let answer = answer.join().expect("it is answered");
    assert_eq!(answer["error"]["data"]["kind"], "unauthorized", "{answer}");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("root may");
    drop(sandbox);
}
