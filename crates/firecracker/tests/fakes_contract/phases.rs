//! What can be asked before the machine is started, and what afterwards.

use crate::programs::programs;
use crate::vmm::Vmm;
use banger_firecracker::State;

const START: &str = r#"{"action_type":"InstanceStart"}"#;
const FLUSH: &str = r#"{"action_type":"FlushMetrics"}"#;
const PAUSE: &str = r#"{"state":"Paused"}"#;
const RESUME: &str = r#"{"state":"Resumed"}"#;

#[tokio::test]
async fn a_machine_without_a_kernel_does_not_start() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let words = "Start microvm error: Cannot start microvm without kernel configuration.";
        vmm.refuses("PUT", "/actions", START, words);
        vmm.does("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#);
        vmm.refuses("PUT", "/actions", START, words);
        assert_eq!(vmm.client().await.instance().await.unwrap().state, State::NotStarted);
        vmm.does("PUT", "/boot-source", r#"{"kernel_image_path":"vmlinux"}"#);
        vmm.does("PUT", "/actions", START);
    }
}

#[tokio::test]
async fn what_is_for_a_running_machine_is_refused_before_it_runs() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let words = "The requested operation is not supported before starting the microVM.";
        vmm.refuses("PATCH", "/vm", PAUSE, words);
        vmm.refuses("PATCH", "/vm", RESUME, words);
        vmm.refuses("PUT", "/actions", FLUSH, words);
    }
}

#[tokio::test]
async fn what_describes_a_machine_is_refused_once_it_runs_or_is_paused() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        vmm.does("PUT", "/boot-source", r#"{"kernel_image_path":"vmlinux"}"#);
        vmm.does("PUT", "/actions", START);
        let everything = || {
            let words = "The requested operation is not supported after starting the microVM.";
            for (path, body) in [
                ("/actions", START),
                ("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64}"#),
                ("/boot-source", r#"{"kernel_image_path":"vmlinux"}"#),
                ("/vsock", r#"{"guest_cid":3,"uds_path":"late.sock"}"#),
                ("/entropy", "{}"),
                ("/serial", "{}"),
            ] {
                vmm.refuses("PUT", path, body, words);
            }
            // These two could be added, to a Firecracker that was started to allow it.
            let drive = r#"{"drive_id":"late","path_on_host":"root.img","is_root_device":false}"#;
            vmm.refuses("PUT", "/drives/late", drive, "PCI is not enabled");
            let interface = r#"{"iface_id":"late","host_dev_name":"late"}"#;
            vmm.refuses("PUT", "/network-interfaces/late", interface, "PCI is not enabled");
            assert!(!vmm.folder().join("late.sock").exists() && !vmm.folder().join("late").exists());
        };
        everything();
        vmm.does("PATCH", "/vm", PAUSE);
        everything();
        vmm.does("PATCH", "/vm", RESUME);
    }
}

#[tokio::test]
async fn pausing_twice_is_as_good_as_once_and_so_is_resuming() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let mut client = vmm.client().await;
        client.configure(&vmm.machine()).await.unwrap();
        client.start().await.unwrap();
        assert_eq!(client.instance().await.unwrap().state, State::Running);
        client.resume().await.unwrap();
        for _ in 0..2 {
            client.pause().await.unwrap();
            assert_eq!(client.instance().await.unwrap().state, State::Paused);
        }
        for _ in 0..2 {
            client.resume().await.unwrap();
            assert_eq!(client.instance().await.unwrap().state, State::Running);
        }
    }
}
