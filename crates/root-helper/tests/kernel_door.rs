//! Who may speak to the helper, and what it makes of what is said.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::root_api::{InventoryRequest, NetworkEnsure, RootCall, Version};
use banger_protocol::wire::{Connection, ErrorKind, Incoming, MAX_LINE, parse_incoming};
use harness::{Helper, Start, folder, is_root, refusal_kind, run};
use rustix::process::Signal;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

fn stranger(helper: &Helper) -> Connection {
    Connection::new(UnixStream::connect(helper.socket()).unwrap())
}

/// The kind of error in the next line; `None` at the end of the connection.
fn next_kind(connection: &mut Connection) -> Option<ErrorKind> {
    let line = connection.read_line().unwrap()?;
    match parse_incoming(&line.bytes).unwrap() {
        Incoming::Response { outcome: Err(error), .. } => Some(error.kind),
        other => panic!("not refused: {other:?}"),
    }
}

fn say(connection: &Connection, line: &str) {
    let mut stream = connection.stream();
    stream.write_all(line.as_bytes()).unwrap();
    stream.write_all(b"\n").unwrap();
}

/// A client in Perl, which says its greeting, be it taken or not, and prints the answer.
const CLIENT: &str = r#"use IO::Socket::UNIX; $SIG{PIPE} = "IGNORE"; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
    print $s qq({"jsonrpc":"2.0","id":1,"method":"version","params":{"protocol":$ARGV[1]}}\n);
    $s->flush; print scalar <$s>;"#;

/// A client whose connection was made by a process that is gone before the helper, stopped until then, can look.
const LEGACY: &str = r#"use IO::Socket::UNIX; my ($socket, $protocol, $helper) = @ARGV;
    if (my $connects = fork) { waitpid $connects, 0; kill CONT => $helper; exit; }
    my $s = IO::Socket::UNIX->new(Peer => $socket) or die "connect: $!"; my $gone = $$; exit if fork;
    select undef, undef, undef, 0.01 while -e "/proc/$gone"; $SIG{PIPE} = "IGNORE";
    print $s qq({"jsonrpc":"2.0","id":1,"method":"version","params":{"protocol":$protocol}}\n);
    $s->flush; print scalar <$s>;"#;

fn greeting_of(output: &std::process::Output) -> ErrorKind {
    match parse_incoming(output.stdout.trim_ascii_end()) {
        Ok(Incoming::Response { outcome: Err(error), .. }) => error.kind,
        other => panic!("{other:?}: {output:?}"),
    }
}

#[test]
fn another_user_is_refused() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let socket = helper.socket();
    // Past the socket's own mode, which would keep them out already.
    std::fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let version = PROTOCOL_VERSION.to_string();
    let client = ["perl", "-e", CLIENT, socket.to_str().unwrap(), &version];
    let output = if is_root() {
        run("setpriv", &[&["--reuid=12345", "--regid=12345", "--clear-groups"], &client[..]].concat())
    } else {
        run("unshare", &[&["--map-auto", "--setuid=7", "--setgid=7"], &client[..]].concat())
    };
    assert_eq!(greeting_of(&output), ErrorKind::Unauthorized);
}

#[test]
fn a_process_inside_the_namespaces_is_refused() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let version = PROTOCOL_VERSION.to_string();
    let arguments = ["-e", CLIENT, helper.socket().to_str().unwrap(), &version].map(str::to_owned);
    let output = helper.inside_unchecked("perl", &arguments.each_ref().map(String::as_str));
    assert_eq!(greeting_of(&output), ErrorKind::Unauthorized);
}

#[test]
fn a_connection_left_behind_by_a_process_inside_the_namespaces_is_refused() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let (version, pid) = (PROTOCOL_VERSION.to_string(), helper.child.id().to_string());
    rustix::process::kill_process(rustix::process::Pid::from_child(&helper.child), Signal::STOP).unwrap();
    let arguments = ["-e", LEGACY, helper.socket().to_str().unwrap(), &version, &pid].map(str::to_owned);
    let output = helper.inside_unchecked("perl", &arguments.each_ref().map(String::as_str));
    assert_eq!(greeting_of(&output), ErrorKind::Unauthorized);
}

#[test]
fn the_first_request_is_version_and_it_fits() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let mut connection = stranger(&helper);
    assert_eq!(refusal_kind(connection.call(&InventoryRequest {})), ErrorKind::BadVersion);
    assert!(connection.read_line().unwrap().is_none(), "the connection goes on");

    let mut connection = stranger(&helper);
    let other = Version { protocol: PROTOCOL_VERSION + 1, operation: None };
    assert_eq!(refusal_kind(connection.call(&other)), ErrorKind::BadVersion);
    assert_eq!(refusal_kind(connection.call(&NetworkEnsure::default())), ErrorKind::BadVersion);

    let reply = stranger(&helper).call(&Version { protocol: PROTOCOL_VERSION, operation: None }).unwrap();
    assert_eq!(reply.pid, helper.child.id());
    assert_eq!(reply.settings.bridge, "br-banger");
}

#[test]
fn an_endless_line_and_lines_that_are_no_requests_end_the_connection() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let connection = helper.connect();
    // The helper stops reading, so writing may fail before the end.
    let _ = { connection.stream() }.write_all(&vec![b'x'; MAX_LINE + 1]);
    let mut connection = connection;
    assert_eq!(next_kind(&mut connection), Some(ErrorKind::BadRequest));

    for line in ["", "{", "[]", "\0", r#"{"jsonrpc":"1.0","id":1,"method":"version","params":{}}"#] {
        let mut connection = helper.connect();
        say(&connection, line);
        assert_eq!(next_kind(&mut connection), Some(ErrorKind::BadRequest), "{line}");
        assert_eq!(next_kind(&mut connection), None);
    }
}

#[test]
fn hostile_parameters_are_refused_whatever_the_method() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let mut connection = helper.connect();
    let mut id = 100;
    let mut ask = |method: &str, params: &str| {
        id += 1;
        say(&connection, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
        next_kind(&mut connection)
    };
    for unknown in ["", "exec", "network", "network.ensure ", "../../x", "Version"] {
        assert_eq!(ask(unknown, "{}"), Some(ErrorKind::UnknownMethod), "{unknown}");
    }
    let vms = [
        "\"../../../etc\"",
        "\"\"",
        "\"0123456789AB\"",
        "\"0123456789abc\"",
        "\"01234567 9ab\"",
        "\"-123456789ab\"",
        "\"0123456789a\\u0000\"",
        "\"eth0\"",
        "17",
        "null",
        "[]",
        "{}",
        "true",
    ];
    for method in RootCall::METHODS {
        for params in ["null", "17", "\"\"", r#"{"stray":1}"#] {
            assert_eq!(ask(method, params), Some(ErrorKind::BadRequest), "{method} {params}");
        }
        for vm in vms {
            let params = format!(
                r#"{{"vm":{vm},"program":"vsock_backend","process":{{"pid":1,"start_time":1}},"signal":"kill"}}"#
            );
            assert_eq!(ask(method, &params), Some(ErrorKind::BadRequest), "{method} {params}");
            assert_eq!(
                ask(method, &format!(r#"{{"vm":{vm}}}"#)),
                Some(ErrorKind::BadRequest),
                "{method} {vm}"
            );
        }
    }
    let process = |process: &str, signal: &str| {
        format!(r#"{{"vm":"0123456789ab","process":{process},"signal":{signal}}}"#)
    };
    for params in [
        process(r#"{"pid":-1,"start_time":1}"#, r#""kill""#),
        process(r#"{"pid":4294967296,"start_time":1}"#, r#""kill""#),
        process(r#"{"pid":1}"#, r#""kill""#),
        process(r#"{"pid":1,"start_time":1}"#, "9"),
        process(r#"{"pid":1,"start_time":1}"#, r#""segv""#),
    ] {
        assert_eq!(ask("process.signal", &params), Some(ErrorKind::BadRequest), "{params}");
    }
    drop(connection);
    assert_eq!(helper.connect().call(&InventoryRequest {}).unwrap(), Default::default());
}

#[test]
fn descriptors_come_only_where_they_belong() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let mut connection = helper.connect();
    let file = std::fs::File::open("/dev/null").unwrap();
    let outcome = connection.call_with(&InventoryRequest {}, &[file.as_fd()], |_| {});
    assert_eq!(refusal_kind(outcome), ErrorKind::BadRequest);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", helper.child.id())).unwrap().count();
    let before = open();
    for _ in 0..50 {
        let _ = connection.call_with(&InventoryRequest {}, &[file.as_fd(), file.as_fd()], |_| {});
    }
    harness::until("they are closed again", || open() <= before);
}

#[test]
fn one_connection_too_many_is_told_so_and_room_comes_back() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    let mut open = Vec::new();
    harness::until("as many as there may be are open", || {
        open.extend(helper.try_connect());
        open.len() == 32
    });
    assert_eq!(next_kind(&mut stranger(&helper)), Some(ErrorKind::Unavailable));
    drop(open);
    harness::until("there is room again", || {
        stranger(&helper).call(&Version { protocol: PROTOCOL_VERSION, operation: None }).is_ok()
    });
}
