//! Completion as shells ask for it.

use banger_e2e::{FakeVmm, Invocation, Sandbox};
use std::time::Duration;

/// What `shell` is told to offer for the last of these words.
fn asked(sandbox: &Sandbox, shell: &str, words: &[&str]) -> Invocation {
    let index = (words.len() - 1).to_string();
    let invocation = sandbox.banger(["--"].iter().chain(words));
    invocation.env("BANGER_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n")
}

fn offered(sandbox: &Sandbox, shell: &str, words: &[&str]) -> Vec<String> {
    let finished = asked(sandbox, shell, words).run().expect_success();
    assert_eq!(finished.stderr_text(), "", "completion has nobody to talk to");
    let lines = finished.stdout_text().lines();
    // Fish and zsh are told what each one is, behind a tab or a colon.
    lines.map(|line| line.split(['\t', ':']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn names_of_vms_images_and_kernels_are_offered_in_every_shell() {
    let sandbox = Sandbox::with_fake_guests_of(FakeVmm::Qemu);
    for name in ["dev", "deploy", "other"] {
        let _ = sandbox.banger(["vm", "create", "--no-start", "--name", name]).run().expect_success();
    }
    for shell in ["bash", "zsh", "fish"] {
        let offered = |words: &[&str]| offered(&sandbox, shell, words);
        assert_eq!(offered(&["banger", "vm", "start", "de"]), ["deploy", "dev"], "{shell}");
        assert_eq!(offered(&["banger", "vm", "exec", "o"]), ["other"], "{shell}");
        assert_eq!(offered(&["banger", "vm", "create", "--image", "he"]), ["held"], "{shell}");
        assert_eq!(offered(&["banger", "kernel", "rm", "deb"]), ["debian-bookworm-cloud"], "{shell}");
        assert!(offered(&["banger", "vm", "st"]).contains(&"stop".to_owned()), "{shell}");
        assert!(offered(&["banger", "image", "pull", ""]).contains(&"debian-bookworm".to_owned()), "{shell}");
    }
    let _ = sandbox.banger(["vm", "delete", "dev", "deploy", "other"]).run().expect_success();
}

#[test]
fn bash_completes_with_the_script_it_is_given() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = sandbox.banger(["vm", "create", "--no-start", "--name", "dev"]).run().expect_success();
    let script = "PATH=$0:$PATH
        source <(banger completion bash)
        COMP_WORDS=(banger vm ssh d) COMP_CWORD=3 COMP_TYPE=9
        _clap_complete_banger banger d ssh
        echo \"${COMPREPLY[@]}\"";
    let finished = sandbox
        .tool("bash", ["--norc", "-c", script, &sandbox.programs().display().to_string()])
        .run()
        .expect_success();
    assert_eq!(finished.stdout_text().trim(), "dev", "{}", finished.stderr_text());
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}

#[test]
fn without_a_daemon_it_is_quick_and_silent_and_starts_none() {
    let sandbox = Sandbox::empty();
    assert!(
        offered(&sandbox, "fish", &["banger", "vm", "start", ""]).iter().all(|word| word.starts_with('-'))
    );
    let finished = asked(&sandbox, "fish", &["banger", "vm", "run", "--image", ""]).run().expect_success();
    assert!(finished.stdout_text().contains("debian-bookworm"), "the catalog needs no daemon");
    assert!(finished.took < Duration::from_secs(1), "{:?}", finished.took);
    assert_eq!(sandbox.processes(), [], "a daemon was started");
}

#[test]
fn a_daemon_that_does_not_answer_keeps_nobody_waiting() {
    let sandbox = Sandbox::empty();
    let _ = sandbox.banger(["vm", "list"]).run().expect_success();
    sandbox.halt("bangerd");
    let finished = asked(&sandbox, "fish", &["banger", "vm", "start", ""]).run().expect_success();
    assert!(finished.took < Duration::from_secs(2), "{:?}", finished.took);
    assert_eq!(finished.stderr_text(), "");
    sandbox.kill("bangerd");
}
