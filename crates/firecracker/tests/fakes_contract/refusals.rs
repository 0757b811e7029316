//! What is refused of a machine before it is started, and in which words.

use crate::programs::programs;
use crate::vmm::Vmm;

const JSON: &str = "An error occurred when deserializing the json body of a request: ";

#[tokio::test]
async fn processors_and_memory_have_limits() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let refuses = |body, words| vmm.refuses("PUT", "/machine-config", body, words);
        let processors = "Machine config error: The number of vCPUs must be greater than 0";
        refuses(r#"{"vcpu_count":0,"mem_size_mib":64}"#, processors);
        refuses(r#"{"vcpu_count":33,"mem_size_mib":64}"#, processors);
        refuses(r#"{"vcpu_count":256,"mem_size_mib":64}"#, "invalid value: integer `256`, expected u8");
        refuses(
            r#"{"vcpu_count":1,"mem_size_mib":0}"#,
            "Machine config error: The memory size (MiB) is either 0",
        );
        refuses(r#"{"vcpu_count":1,"mem_size_mib":-1}"#, "invalid value: integer `-1`");
        for body in [r#"{"vcpu_count":1,"mem_size_mib":1}"#, r#"{"vcpu_count":32,"mem_size_mib":64}"#] {
            vmm.does("PUT", "/machine-config", body);
        }
    }
}

#[tokio::test]
async fn a_body_must_have_the_fields_and_no_others() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        for (path, body, words) in [
            ("/machine-config", r#"{"vcpu_count":1}"#, "missing field `mem_size_mib`"),
            ("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64,"turbo":1}"#, "unknown field `turbo`"),
            ("/machine-config", r#"{"vcpu_count":"1","mem_size_mib":64}"#, "invalid type: string \"1\""),
            ("/boot-source", r#"{"boot_args":""}"#, "missing field `kernel_image_path`"),
            ("/boot-source", r#"{"kernel_image_path":"vmlinux","turbo":1}"#, "unknown field `turbo`"),
            ("/drives/a", r#"{"drive_id":"a","path_on_host":"root.img"}"#, "missing field `is_root_device`"),
            ("/drives/a", r#"{"drive_id":"a","is_root_device":false,"turbo":1}"#, "unknown field `turbo`"),
            ("/network-interfaces/a", r#"{"iface_id":"a"}"#, "missing field `host_dev_name`"),
            ("/network-interfaces/a", r#"{"iface_id":"a","turbo":1}"#, "unknown field `turbo`"),
            ("/vsock", r#"{"guest_cid":3}"#, "missing field `uds_path`"),
            (
                "/vsock",
                r#"{"guest_cid":-3,"uds_path":"v.sock"}"#,
                "invalid value: integer `-3`, expected u32",
            ),
            ("/vsock", r#"{"guest_cid":3,"uds_path":"v.sock","turbo":1}"#, "unknown field `turbo`"),
            ("/entropy", r#"{"turbo":1}"#, "unknown field `turbo`"),
            ("/serial", r#"{"turbo":1}"#, "unknown field `turbo`"),
            ("/actions", r#"{"action_type":"Start"}"#, "unknown variant `Start`"),
            ("/actions", r#"{"action_type":"InstanceStart","turbo":1}"#, "unknown field `turbo`"),
        ] {
            vmm.refuses("PUT", path, body, JSON);
            vmm.refuses("PUT", path, body, words);
        }
        vmm.refuses("PATCH", "/vm", r#"{"state":"Asleep"}"#, "unknown variant `Asleep`");
        vmm.refuses("PATCH", "/vm", r#"{"state":"Paused","turbo":1}"#, "unknown field `turbo`");
    }
}

#[tokio::test]
async fn a_kernel_or_initrd_that_is_not_there_is_refused_when_it_is_named() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let refuses = |body: &str, words| vmm.refuses("PUT", "/boot-source", body, words);
        let absent =
            "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)";
        refuses(r#"{"kernel_image_path":"absent"}"#, absent);
        let absent = "Boot source error: The initrd file cannot be opened";
        refuses(r#"{"kernel_image_path":"vmlinux","initrd_path":"absent"}"#, absent);
        let with = |length| {
            let boot_args = "x".repeat(length);
            format!(r#"{{"kernel_image_path":"vmlinux","initrd_path":"initrd","boot_args":"{boot_args}"}}"#)
        };
        refuses(&with(2048), "Boot source error: The kernel command line is invalid");
        vmm.does("PUT", "/boot-source", &with(2047));
    }
}

#[tokio::test]
async fn a_kernel_command_line_must_leave_room_for_what_is_added_to_it() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let boot_args = "x".repeat(2047);
        let body = format!(r#"{{"kernel_image_path":"vmlinux","boot_args":"{boot_args}"}}"#);
        vmm.does("PUT", "/boot-source", &body);
        let start = r#"{"action_type":"InstanceStart"}"#;
        vmm.refuses("PUT", "/actions", start, "Start microvm error: ");
        // Nothing is lost: it can be described anew.
        vmm.does("PUT", "/boot-source", r#"{"kernel_image_path":"vmlinux","boot_args":"x"}"#);
        vmm.does("PUT", "/actions", start);
    }
}

#[tokio::test]
async fn a_drive_s_file_must_be_there_when_it_is_named() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let creating = "Drive config error: Unable to create the virtio block device: ";
        let absent = r#"{"drive_id":"a","path_on_host":"absent","is_root_device":false,"is_read_only":true}"#;
        vmm.refuses("PUT", "/drives/a", absent, creating);
        vmm.refuses("PUT", "/drives/a", absent, "No such file or directory (os error 2) absent");
        vmm.refuses("PUT", "/drives/a", r#"{"drive_id":"a","is_root_device":false}"#, creating);
        let cache =
            r#"{"drive_id":"a","path_on_host":"root.img","is_root_device":false,"cache_type":"Safe"}"#;
        vmm.refuses("PUT", "/drives/a", cache, "unknown variant `Safe`, expected `Unsafe` or `Writeback`");
        let engine =
            r#"{"drive_id":"a","path_on_host":"root.img","is_root_device":false,"io_engine":"Fast"}"#;
        vmm.refuses("PUT", "/drives/a", engine, "unknown variant `Fast`, expected `Async` or `Sync`");

        let root = |id| format!(r#"{{"drive_id":"{id}","path_on_host":"root.img","is_root_device":true}}"#);
        vmm.does("PUT", "/drives/a", &root("a"));
        vmm.does("PUT", "/drives/a", &root("a"));
        vmm.refuses("PUT", "/drives/b", root("b"), "Drive config error: A root block device already exists!");
    }
}

#[tokio::test]
async fn ids_are_letters_digits_and_underscores_and_those_of_path_and_body_agree() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let drive = |id| format!(r#"{{"drive_id":"{id}","path_on_host":"root.img","is_root_device":false}}"#);
        let characters = "API Resource IDs can only contain alphanumeric characters and underscores.";
        vmm.does("PUT", "/drives/Ab_9", &drive("Ab_9"));
        vmm.refuses("PUT", "/drives/a-b", drive("a-b"), characters);
        vmm.refuses("PUT", "/drives/a.b", "nonsense", characters);
        vmm.refuses("PUT", "/drives", drive(""), "The ID cannot be empty.");
        vmm.refuses("PUT", "/drives/", drive(""), "The ID cannot be empty.");
        vmm.refuses(
            "PUT",
            "/drives/a",
            drive("b"),
            "The id from the path does not match the id from the body!",
        );

        let interface = |id| format!(r#"{{"iface_id":"{id}","host_dev_name":"x"}}"#);
        vmm.refuses("PUT", "/network-interfaces/a-b", interface("a-b"), characters);
        vmm.refuses("PUT", "/network-interfaces", interface(""), "The ID cannot be empty.");
        let other = "The id from the path [a] does not match the id from the body [b]!";
        vmm.refuses("PUT", "/network-interfaces/a", interface("b"), other);
    }
}

#[tokio::test]
async fn a_tap_and_an_address_belong_to_one_interface() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let interface = |id, tap, mac| {
            format!(r#"{{"iface_id":"{id}","host_dev_name":"{tap}","guest_mac":"02:fc:ac:10:00:0{mac}"}}"#)
        };
        let tap = program.tap();
        vmm.does("PUT", "/network-interfaces/a", &interface("a", tap, 2));
        // The same once more replaces it.
        vmm.does("PUT", "/network-interfaces/a", &interface("a", tap, 2));
        let busy = "Network config error: Could not create the network device: Open tap device failed: \
                    Error while creating ifreq structure: Device or resource busy (os error 16)";
        vmm.refuses("PUT", "/network-interfaces/b", interface("b", tap, 3), busy);
        let used = "Network config error: The MAC address is already in use: 02:fc:ac:10:00:02";
        vmm.refuses("PUT", "/network-interfaces/b", interface("b", "other", 2), used);
        let long = "Open tap device failed: Invalid interface name";
        vmm.refuses("PUT", "/network-interfaces/b", interface("b", "sixteen-letters-", 4), long);
        let address = r#"{"iface_id":"b","host_dev_name":"x","guest_mac":"02:fc:ac"}"#;
        vmm.refuses("PUT", "/network-interfaces/b", address, "The provided MAC address is invalid.");
    }
}

#[tokio::test]
async fn the_vsock_s_socket_is_made_when_it_is_named_and_must_not_exist() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let vsock = |socket| format!(r#"{{"guest_cid":3,"uds_path":"{socket}"}}"#);
        let taken = "Vsock config error: Cannot create backend for vsock device: \
                     Error binding to the host-side Unix socket: Address already in use (os error 98)";
        vmm.refuses("PUT", "/vsock", vsock("root.img"), taken);
        vmm.does("PUT", "/vsock", &vsock("v.sock"));
        assert!(vmm.folder().join("v.sock").exists());
        // Another one replaces it, and the socket with it.
        vmm.does("PUT", "/vsock", &vsock("w.sock"));
        assert!(!vmm.folder().join("v.sock").exists() && vmm.folder().join("w.sock").exists());
        vmm.does("PUT", "/vsock", &vsock("w.sock"));
    }
}

#[tokio::test]
async fn a_request_for_nothing_is_refused_like_one_that_cannot_be() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        vmm.refuses("GET", "/nothing", "", "Invalid request method and/or path: GET nothing.");
        vmm.refuses("PUT", "/nothing", "{}", "Invalid request method and/or path: PUT nothing.");
        vmm.refuses("PATCH", "/vsock", "{}", "Invalid request method and/or path: PATCH vsock.");
        vmm.refuses("GET", "/", "{}", "GET request cannot have a body.");
        vmm.refuses("PUT", "/actions", "", "Empty PUT request.");
        vmm.refuses("PATCH", "/vm", "", "Empty PATCH request.");
        for (body, words) in [
            (&b"{"[..], "EOF while parsing an object"),
            (b"nonsense", "expected ident"),
            (b"[]", "invalid length 0"),
            (b"\xff\xfe", "expected value"),
            (b"{} {}", "missing field `action_type`"),
        ] {
            vmm.refuses("PUT", "/actions", body, JSON);
            vmm.refuses("PUT", "/actions", body, words);
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_what_is_no_json() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let huge = vmm.ask("PUT", "/actions", vec![b'x'; 51201]);
        assert_eq!(huge.status, 400);
        assert!(huge.text.contains("size 51201 is larger than the limit of 51200"), "{huge:?}");
        let method = vmm.ask("POST", "/actions", "{}");
        assert_eq!(method.status, 400);
        assert!(method.text.contains("Unsupported HTTP method"), "{method:?}");
        for answer in [huge, method] {
            assert!(serde_json::from_str::<serde_json::Value>(&answer.text).is_err(), "{answer:?}");
        }
        let largest = vec![b' '; 51200];
        vmm.refuses("PUT", "/actions", largest, "EOF while parsing a value");
    }
}
