//! A machine's life through the client.

use crate::ask::receive;
use crate::programs::programs;
use crate::vmm::Vmm;
use banger_firecracker::{API_SOCKET, ApiError, Client, ConnectError, Machine, State, Verdict, judge};
use std::error::Error as _;
use std::os::unix::net::UnixStream;

#[tokio::test]
async fn a_whole_machine_is_described_started_paused_and_resumed_over_one_connection() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let mut client = vmm.client().await;
        let instance = client.instance().await.unwrap();
        assert_eq!((instance.id.as_str(), instance.state), ("test-vm", State::NotStarted));
        assert_eq!(instance.app_name, "Firecracker");
        assert_ne!(judge(instance.version), Verdict::TooOld);
        assert_eq!(client.version().await.unwrap(), instance.version);

        client.configure(&vmm.machine()).await.unwrap();
        client.start().await.unwrap();
        client.pause().await.unwrap();
        client.resume().await.unwrap();
        client.flush_metrics().await.unwrap();
        assert_eq!(client.instance().await.unwrap().state, State::Running);
    }
}

#[tokio::test]
async fn it_says_this_of_itself_and_nothing_more() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        for (path, expected) in
            [("/", &["app_name", "id", "state", "vmm_version"][..]), ("/version", &["firecracker_version"])]
        {
            let answer = vmm.ask("GET", path, "");
            let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            let mut fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
            fields.sort_unstable();
            assert_eq!((answer.status, fields.as_slice()), (200, expected), "{program:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_call_and_has_firecracker_s_words_for_its_cause() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let mut machine = vmm.machine();
        machine.drives[1].path = "absent.img".to_owned();
        let mut client = vmm.client().await;
        let error = client.configure(&machine).await.unwrap_err();
        assert_eq!(error.to_string(), "Firecracker refused PUT /drives/work");
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains("No such file or directory (os error 2) absent.img"), "{cause}");
        assert!(vmm.said("log").contains(&cause));
        // What was before it has been done, what is after it has not.
        assert!(!vmm.folder().join("v.sock").exists());
        // The connection is as good as before.
        assert_eq!(client.instance().await.unwrap().state, State::NotStarted);
    }
}

#[tokio::test]
async fn a_machine_with_too_many_processors_is_refused_first_of_all() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let machine = Machine { vcpu: 33, kernel: "absent".to_owned(), ..vmm.machine() };
        let error = vmm.client().await.configure(&machine).await.unwrap_err();
        assert_eq!(error.to_string(), "Firecracker refused PUT /machine-config");
    }
}

#[tokio::test]
async fn a_machine_that_turns_itself_off_ends_the_process_and_leaves_the_sockets() {
    for program in programs() {
        let mut vmm = Vmm::start(&program).await;
        std::fs::write(vmm.folder().join("work.img"), r#"{"vmm":"ends"}"#).unwrap();
        let mut client = vmm.client().await;
        let machine = Machine { kernel: "vmlinux-off".to_owned(), ..vmm.machine() };
        client.configure(&machine).await.unwrap();
        client.start().await.unwrap();
        assert_eq!(vmm.end().code(), Some(0), "{program:?}");
        let error = client.instance().await.unwrap_err();
        assert!(matches!(error, ApiError::Broken { .. }), "{error:?}");
        let error = Client::connect(vmm.folder()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Socket(_)), "{error:?}");
        assert!(vmm.folder().join(API_SOCKET).exists() && vmm.folder().join("v.sock").exists());
    }
}

#[tokio::test]
async fn the_console_goes_to_standard_output_where_no_file_is_named() {
    for program in programs() {
        let mut vmm = Vmm::start(&program).await;
        let mut client = vmm.client().await;
        client.configure(&turned_off(&vmm)).await.unwrap();
        client.start().await.unwrap();
        vmm.end();
        assert_eq!(vmm.said("stdout"), SAID_BY_GUEST, "{program:?}");
        assert!(!vmm.said("log").is_empty());
    }
}

#[tokio::test]
async fn the_console_s_file_is_written_over_from_its_beginning() {
    for program in programs() {
        let mut vmm = Vmm::start(&program).await;
        let before = "before ".repeat(100);
        std::fs::write(vmm.folder().join("console"), &before).unwrap();
        let mut client = vmm.client().await;
        let console = Some("console".to_owned());
        client.configure(&Machine { console, ..turned_off(&vmm) }).await.unwrap();
        client.start().await.unwrap();
        vmm.end();
        let left = &before[SAID_BY_GUEST.len()..];
        assert_eq!(vmm.said("console"), format!("{SAID_BY_GUEST}{left}"), "{program:?}");
        assert_eq!(vmm.said("stdout"), "");
    }
}

fn turned_off(vmm: &Vmm) -> Machine {
    std::fs::write(vmm.folder().join("work.img"), r#"{"vmm":"ends"}"#).unwrap();
    Machine { kernel: "vmlinux-off".to_owned(), ..vmm.machine() }
}

/// The kernel command line of [`Vmm::machine`], with what Firecracker adds to it.
const SAID_BY_GUEST: &str = "fake guest: console=ttyS0 banger.disks=root,work pci=off \
     virtio_mmio.device=4K@0xc0001000:5 virtio_mmio.device=4K@0xc0002000:6 virtio_mmio.device=4K@0xc0003000:7 \
     virtio_mmio.device=4K@0xc0004000:8 virtio_mmio.device=4K@0xc0005000:9\n";

#[tokio::test]
async fn ten_connections_are_served_at_once_and_no_eleventh() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = Client::connect(vmm.folder()).await.unwrap();
            client.instance().await.unwrap();
            clients.push(client);
        }
        let eleventh = UnixStream::connect(vmm.folder().join(API_SOCKET)).unwrap();
        assert_eq!(receive(&eleventh).status, 503, "{program:?}");
        clients.pop();
        // The others have not noticed.
        assert_eq!(clients[0].instance().await.unwrap().state, State::NotStarted);
    }
}
