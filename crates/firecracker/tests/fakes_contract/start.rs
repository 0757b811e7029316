//! Starting the program, and finding its socket.

use crate::programs::{Program, programs};
use crate::vmm::{Vmm, run};
use banger_firecracker::{API_SOCKET, Client, Version};
use std::process::Output;

fn output(program: &Program, arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = program.command().args(arguments).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap();
    (output, said)
}

#[tokio::test]
async fn the_version_it_prints_is_the_one_its_api_has() {
    for program in programs() {
        let (output, _) = output(&program, &["--version"]);
        assert!(output.status.success());
        let printed = Version::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let vmm = Vmm::start(&program).await;
        assert_eq!(vmm.client().await.version().await.unwrap(), printed);
    }
}

#[test]
fn arguments_that_do_not_exist_end_it() {
    for program in programs() {
        for (arguments, code, words) in [
            (
                &["--turbo"][..],
                Some(153),
                "Arguments parsing error: Found argument 'turbo' which wasn't expected",
            ),
            (&["turbo"], Some(153), "Arguments parsing error: Found argument 'turbo' which wasn't expected"),
            (&["--api-sock"], Some(153), "The argument 'api-sock' requires a value"),
            (&["--id", "a", "--id", "b"], Some(153), "The argument 'id' was provided more than once"),
            (&["--level", "chatty"], Some(152), "Invalid value for logger level: "),
        ] {
            let (output, said) = output(&program, arguments);
            assert_eq!(output.status.code(), code, "{program:?} {arguments:?}");
            assert!(said.contains(words), "{program:?} {arguments:?}: {said}");
        }
        for id in ["a.b", "", &"x".repeat(65)] {
            let (output, said) = output(&program, &["--id", id]);
            assert!(!output.status.success() && said.contains("Invalid instance ID"), "{program:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_socket_that_is_there_already_is_left_alone_and_ends_the_second_one() {
    for program in programs() {
        let mut vmm = Vmm::start(&program).await;
        for _ in 0..2 {
            let mut second = run(&program, vmm.folder(), &["--api-sock", API_SOCKET]);
            assert_eq!(second.wait().unwrap().code(), Some(1), "{program:?}");
            let said = vmm.said("stderr") + &vmm.said("stdout");
            assert!(said.contains("Failed to open the API socket at: api.sock"), "{said}");
            // The same whether somebody listens there or has ended.
            vmm.kill();
        }
        assert!(vmm.folder().join(API_SOCKET).exists());
    }
}

#[tokio::test]
async fn what_is_not_wrong_is_not_logged_when_warnings_are_asked_for() {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--api-sock", API_SOCKET, "--log-path", "log", "--level", "Warn"];
        let mut child = run(&program, folder.path(), &arguments);
        let mut client = Client::connect_when_up(folder.path()).await.unwrap();
        client.instance().await.unwrap();
        let said = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let quiet = [said("log"), said("stdout"), said("stderr")].concat();
        client.pause().await.unwrap_err();
        let fault = said("log");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(quiet, "", "{program:?}");
        assert!(fault.contains("The requested operation is not supported before starting"), "{fault}");
    }
}

#[tokio::test]
async fn the_socket_is_found_in_a_folder_whose_path_fits_no_address() {
    for program in programs() {
        let below = ["a-folder-deep-down"; 10].join("/");
        let vmm = Vmm::start_in(&program, &below).await;
        assert!(vmm.folder().as_os_str().len() > 108);
        let mut client = Client::connect(vmm.folder()).await.unwrap();
        client.configure(&vmm.machine()).await.unwrap();
        client.start().await.unwrap();
    }
}

#[tokio::test]
async fn a_process_just_started_is_connected_to_as_soon_as_it_listens() {
    for program in programs() {
        for _ in 0..5 {
            let vmm = Vmm::launch(&program, "vm");
            let mut client = vmm.client().await;
            client.instance().await.unwrap();
        }
    }
}

#[tokio::test]
async fn waiting_for_a_process_that_ended_can_be_given_up() {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = run(&program, folder.path(), &["--turbo"]);
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        tokio::select! {
            connected = Client::connect_when_up(folder.path()) => panic!("{connected:?}"),
            status = ended => assert_eq!(status.unwrap().code(), Some(153)),
        }
    }
}
