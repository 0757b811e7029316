//! Images of a registry on this machine: over good lines and bad ones, with credentials and without.

use crate::registry::{CREDENTIALS, Line, Registry, layout, noise};
use crate::tokens::base64;
use banger_e2e::{Finished, LayerTar, Sandbox};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const LARGE: usize = 2 << 20;

fn pull(sandbox: &Sandbox, reference: &str, more: &[&str]) -> Finished {
    let arguments = ["image", "pull", reference, "--size", "64M"];
    sandbox.banger(arguments.iter().chain(more)).run()
}

fn large_layer(seed: u64) -> Vec<u8> {
    LayerTar::new().file("large", &noise(LARGE, seed)).bytes()
}

fn blobs(sandbox: &Sandbox, suffix: &str) -> usize {
    let folder = sandbox.cache().join("blobs/sha256");
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(suffix)).count()
}

fn partial_bytes(sandbox: &Sandbox) -> u64 {
    let entries = fs::read_dir(sandbox.cache().join("blobs/sha256"));
    let partial = entries.into_iter().flatten().flatten().filter(|entry| entry.path().extension().is_some());
    partial.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

#[test]
fn an_image_comes_by_tag_and_by_digest_and_its_layers_come_once() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    let small = LayerTar::new().file("etc/second", b"x").bytes();
    layout(&sandbox, "one", &[large_layer(1)]);
    layout(&sandbox, "two", &[large_layer(1), small]);
    registry.fill(&sandbox, "one:v1", "team/app:v1");
    registry.fill(&sandbox, "two:v1", "team/app:v2");
    let line = Line::to(&registry);
    let reference = format!("{}/team/app", line.address());

    assert_eq!(pull(&sandbox, &format!("{reference}:v1"), &[]).expect_success().stdout_text(), "app-v1\n");
    let shown = sandbox.json(&["image", "show", "app-v1"]);
    assert_eq!(shown["config"]["user"], "app");
    let source = shown["source"].as_str().expect("an image has a source");
    assert!(source.starts_with(&format!("{reference}:v1@sha256:")), "{source}");

    let before = line.passed();
    let _ = pull(&sandbox, &format!("{reference}:v2"), &[]).expect_success();
    assert!(
        line.passed() - before < 100_000,
        "{} bytes came for a layer that is here",
        line.passed() - before
    );

    let digest = source.split_once('@').expect("its digest is in its source").1;
    let by_digest = pull(&sandbox, &format!("{reference}@{digest}"), &["--name", "same"]).expect_success();
    assert_eq!(by_digest.stdout_text(), "same\n");
    assert_eq!(sandbox.json(&["image", "show", "same"])["digest"], shown["digest"]);

    let created = ["vm", "create", "--no-start", "--name", "dev", "--image", &format!("{reference}:v1")];
    let _ = sandbox.banger(created).run().expect_success();
    assert_eq!(sandbox.json(&["vm", "show", "dev"])["image"], "app-v1");
    let _ = sandbox.banger(["vm", "delete", "dev"]).run().expect_success();
}

#[test]
fn a_line_that_is_cut_again_and_again_is_continued_where_it_was_cut() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    layout(&sandbox, "one", &[large_layer(2)]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let line = Line::to(&registry);
    line.cut_after(400_000);
    let _ = pull(&sandbox, &format!("{}/app:v1", line.address()), &[]).expect_success();
    let passed = line.passed();
    assert!(passed < (LARGE + LARGE / 4) as u64, "{passed} bytes came for {LARGE}");
    assert_eq!(
        (blobs(&sandbox, ".partial"), blobs(&sandbox, "")),
        (0, 2),
        "the config and the layer are kept"
    );
}

#[test]
fn what_came_before_ctrl_c_is_kept_from_pruning_while_it_comes_and_continued_later() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    layout(&sandbox, "one", &[large_layer(3)]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let line = Line::to(&registry);
    line.stall_after(1 << 20);
    let reference = format!("{}/app:v1", line.address());
    let pulling = sandbox.banger(["image", "pull", &reference, "--size", "64M"]).start();
    sandbox.until("half of it is here", || partial_bytes(&sandbox) >= (1 << 20) - 65_536);
    let pruned = sandbox.banger(["image", "cache", "prune"]).run().expect_success();
    assert!(pruned.stdout_text().ends_with("in use stay\n"), "{}", pruned.stdout_text());
    pulling.signal(Signal::INT);
    let _ = pulling.finish().expect_code(130);
    assert_eq!(blobs(&sandbox, ".partial"), 1);

    line.open();
    let before = line.passed();
    let _ = pull(&sandbox, &reference, &[]).expect_success();
    let passed = line.passed() - before;
    assert!(passed < (LARGE * 2 / 3) as u64, "{passed} bytes came for half of {LARGE}");

    let dry = sandbox.banger(["image", "cache", "prune", "--dry-run"]).run().expect_success();
    assert!(dry.stdout_text().starts_with("would remove 2 files"), "{}", dry.stdout_text());
    let _ = sandbox.banger(["image", "cache", "prune"]).run().expect_success();
    assert_eq!(blobs(&sandbox, ""), 0);
}

#[test]
fn one_flipped_byte_on_the_registrys_disk_is_refused_and_not_kept() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    layout(&sandbox, "one", &[large_layer(4)]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let blob = registry.largest_blob();
    let whole = fs::read(&blob).expect("the registry's folder is readable");
    let mut flipped = whole.clone();
    flipped[LARGE / 2] ^= 1;
    fs::write(&blob, flipped).expect("the registry's folder is writable");
    let reference = format!("{}/app:v1", registry.address());
    let refused = pull(&sandbox, &reference, &[]).expect_code(1);
    assert!(refused.stderr_text().contains("is damaged"), "{}", refused.stderr_text());
    let _ = sandbox.banger(["image", "show", "app-v1"]).run().expect_code(1);
    assert_eq!(blobs(&sandbox, ".partial"), 0);
    fs::write(&blob, whole).expect("the registry's folder is writable");
    let _ = pull(&sandbox, &reference, &[]).expect_success();
}

#[test]
fn a_closed_registry_is_entered_with_dockers_credentials_or_those_of_its_helper() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start_closed(&sandbox);
    layout(&sandbox, "one", &[LayerTar::new().file("a", b"a").bytes()]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let reference = format!("{}/app:v1", registry.address());
    let refused = pull(&sandbox, &reference, &[]).expect_code(1);
    let told = refused.stderr_text();
    assert!(told.contains("does not let us in") && told.contains("docker login 127.0.0.1"), "{told}");

    let docker = sandbox.home().join(".docker");
    fs::create_dir(&docker).expect("the sandbox is writable");
    let write = |text: String| fs::write(docker.join("config.json"), text).expect("the sandbox is writable");
    write(format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.address(),
        base64(CREDENTIALS.as_bytes())
    ));
    let _ = pull(&sandbox, &reference, &[]).expect_success();

    let helper = sandbox.home().join("docker-credential-test");
    let answer = r#"{"ServerURL":"x","Username":"tester","Secret":"open sesame"}"#;
    fs::write(&helper, format!("#!/bin/sh\ncat >/dev/null\necho '{answer}'\n"))
        .expect("the sandbox is writable");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("the sandbox is writable");
    write(format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address()));
    let path = format!("{}:/usr/bin:/bin", sandbox.home().display());
    let with_helper = ["image", "pull", &reference, "--size", "64M", "--name", "helped"];
    let _ = sandbox.banger(with_helper).env("PATH", path).run().expect_success();
}

#[test]
fn what_a_registry_does_not_have_is_told_by_its_name() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    layout(&sandbox, "one", &[LayerTar::new().file("a", b"a").bytes()]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let refused = |name: &str| pull(&sandbox, &format!("{}/{name}", registry.address()), &[]).expect_code(1);
    let told = refused("app:v2");
    assert!(told.stderr_text().contains("has no `app:v2`"), "{}", told.stderr_text());
    let told = refused("nothing:v1");
    assert!(told.stderr_text().contains("has no `nothing:v1`"), "{}", told.stderr_text());
    let nobody = pull(&sandbox, "127.0.0.1:1/app:v1", &[]).expect_code(1);
    assert!(nobody.stderr_text().contains("127.0.0.1:1 did not give"), "{}", nobody.stderr_text());
}

#[test]
fn a_registry_that_vanishes_midway_leaves_no_image_and_what_came_is_continued_when_it_is_back() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    layout(&sandbox, "one", &[large_layer(5), large_layer(6)]);
    registry.fill(&sandbox, "one:v1", "app:v1");
    let line = Line::to(&registry);
    let reference = format!("{}/app:v1", line.address());
    line.vanish_after(LARGE as u64);
    let told = pull(&sandbox, &reference, &[]).expect_code(1);
    let text = told.stderr_text();
    assert!(
        text.contains("broke off, again and again") && text.contains("the same command continues it"),
        "{text}"
    );
    let _ = sandbox.banger(["image", "show", "app-v1"]).run().expect_code(1);
    assert_eq!(sandbox.files_named(".tmp-"), Vec::<std::path::PathBuf>::new());

    line.open();
    let before = line.passed();
    let _ = pull(&sandbox, &reference, &[]).expect_success();
    let passed = line.passed() - before;
    assert!(passed < (LARGE * 3 / 2) as u64, "{passed} bytes came for what was left of {}", 2 * LARGE);
}
