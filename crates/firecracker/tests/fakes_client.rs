//! The client against a server that does as the test says: what Firecracker does not do, or not yet.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use banger_firecracker::{
    API_SOCKET, ApiError, Cache, Client, ConnectError, DeviceName, Drive, Engine, Machine, State,
};
use std::error::Error as _;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Answers every request alike and tells which came: the connection's number, the request's line, its body.
struct Server {
    place: TempDir,
    asked: UnboundedReceiver<(usize, String, String)>,
}

impl Server {
    fn answers(answer: impl Into<String>) -> Self {
        let (answer, (sender, asked)) = (answer.into(), unbounded_channel());
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join(API_SOCKET)).unwrap();
        tokio::spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                while let Some((line, body)) = request(&mut stream).await {
                    sender.send((number, line, body)).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.ends_with("…") {
                        break;
                    }
                }
            }
        });
        Self { place, asked }
    }

    async fn client(&self) -> Client {
        Client::connect(self.place.path()).await.unwrap()
    }
}

async fn request(stream: &mut BufReader<UnixStream>) -> Option<(String, String)> {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await.ok().filter(|length| *length > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim().split_once(": ") {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Some((first.trim().to_owned(), String::from_utf8(body).unwrap()))
}

const DONE: &str = "HTTP/1.1 204 \r\nConnection: keep-alive\r\n\r\n";

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} \r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn machine() -> Machine {
    Machine {
        vcpu: 2,
        memory_mib: 512,
        kernel: "vmlinux".to_owned(),
        initrd: None,
        boot_args: String::new(),
        drives: vec![Drive {
            name: DeviceName::new("root").unwrap(),
            path: "root.img".to_owned(),
            read_only: true,
            cache: Cache::Unsafe,
            engine: Engine::Async,
        }],
        network: None,
        vsock: None,
        entropy: false,
        console: None,
    }
}

#[tokio::test]
async fn a_machine_is_described_and_started_over_one_connection_in_the_planned_order() {
    let mut server = Server::answers(DONE);
    let mut client = server.client().await;
    client.configure(&machine()).await.unwrap();
    client.start().await.unwrap();
    client.pause().await.unwrap();
    drop(client);
    let planned = machine().requests().into_iter().map(|request| (request.call, request.body.unwrap()));
    for (call, body) in planned {
        let expected = (1, format!("{call} HTTP/1.1"), body.to_string());
        assert_eq!(server.asked.recv().await.unwrap(), expected);
    }
    for (line, body) in [
        ("PUT /actions HTTP/1.1", r#"{"action_type":"InstanceStart"}"#),
        ("PATCH /vm HTTP/1.1", r#"{"state":"Paused"}"#),
    ] {
        assert_eq!(server.asked.recv().await.unwrap(), (1, line.to_owned(), body.to_owned()));
    }
}

#[tokio::test]
async fn nothing_is_sent_after_the_first_refusal() {
    let mut server = Server::answers(answer(400, r#"{"fault_message":"no"}"#));
    let error = server.client().await.configure(&machine()).await.unwrap_err();
    assert_eq!(error.to_string(), "Firecracker refused PUT /machine-config");
    assert_eq!(error.source().unwrap().to_string(), "no");
    let (_, line, _) = server.asked.recv().await.unwrap();
    assert_eq!(line, "PUT /machine-config HTTP/1.1");
    assert!(server.asked.try_recv().is_err());
}

#[tokio::test]
async fn a_refusal_in_another_form_is_given_as_it_came_on_one_printable_line() {
    let server = Server::answers(answer(400, "{ \"error\": \"too\nmuch \u{1b}[2J\" }"));
    let error = server.client().await.start().await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "{ \"error\": \"too much  [2J\" }");
}

#[tokio::test]
async fn a_state_is_one_of_three_and_what_newer_versions_add_is_ignored() {
    let instance = |state| {
        let body = format!(
            r#"{{"id":"a","state":"{state}","vmm_version":"1.17.0","app_name":"Firecracker","mood":"good"}}"#
        );
        Server::answers(answer(200, &body))
    };
    for (text, state) in
        [("Not started", State::NotStarted), ("Running", State::Running), ("Paused", State::Paused)]
    {
        assert_eq!(instance(text).client().await.instance().await.unwrap().state, state);
    }
    let error = instance("Asleep").client().await.instance().await.unwrap_err();
    assert!(matches!(error, ApiError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    for (answer, expected) in [
        (answer(200, "nonsense"), "Firecracker answered GET /version with something else"),
        (
            answer(200, r#"{"firecracker_version":"new"}"#),
            "Firecracker answered GET /version with something else",
        ),
        (answer(500, "{}"), "Firecracker answered GET /version with status 500, which is not agreed on"),
        (answer(503, "{}"), "Firecracker answered GET /version with status 503, which is not agreed on"),
        (answer(200, &"x".repeat(65537)), "Firecracker answered GET /version with more than 65536 bytes"),
        (
            "HTTP/1.1 200 \r\nContent-Length: 99\r\n\r\n…".to_owned(),
            "the connection to Firecracker broke off at GET /version",
        ),
        ("nonsense\r\n\r\n".to_owned(), "the connection to Firecracker broke off at GET /version"),
    ] {
        let server = Server::answers(answer);
        let error = server.client().await.version().await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.call().to_string(), "GET /version");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_answered_ends_and_so_does_the_next() {
    let server = Server::answers("");
    let mut client = server.client().await;
    let error = client.start().await.unwrap_err();
    assert_eq!(error.to_string(), "Firecracker did not answer PUT /actions within 60 s");
    assert!(client.instance().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_socket_that_never_appears_ends() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect_when_up(folder.path()).await.unwrap_err();
    assert_eq!(error.to_string(), "Firecracker did not open its API socket within 60 s");
    // One that was left behind is nobody's either.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join(API_SOCKET)).unwrap());
    let error = Client::connect_when_up(folder.path()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotUp { .. }), "{error:?}");
    let error = Client::connect(folder.path()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Socket(_)), "{error:?}");
}

#[tokio::test]
async fn a_socket_that_appears_later_is_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let late = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        UnixListener::bind(folder.path().join(API_SOCKET)).unwrap()
    };
    let (connected, _listener) = tokio::join!(Client::connect_when_up(folder.path()), late);
    connected.unwrap();
}

#[tokio::test]
async fn what_lies_in_the_socket_s_place_is_not_followed_or_waited_for() {
    let server = Server::answers(DONE);
    let elsewhere = server.place.path().join(API_SOCKET);
    for is_link in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(API_SOCKET);
        if is_link {
            std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        } else {
            std::fs::write(&place, "").unwrap();
        }
        for error in [
            Client::connect(folder.path()).await.unwrap_err(),
            Client::connect_when_up(folder.path()).await.unwrap_err(),
        ] {
            assert!(matches!(error, ConnectError::NotASocket), "{is_link}: {error:?}");
        }
    }
}
