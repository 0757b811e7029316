//! Layouts and archives on disk: no network, every byte compared with what was promised.

use banger_e2e::{LayerTar, Layout, Sandbox, docker_archive};
use ext4_view::Ext4;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const SIZE: [&str; 2] = ["--size", "64M"];

/// Three layers, the third of which hides a file of the first.
fn layers() -> Vec<Vec<u8>> {
    vec![
        LayerTar::new().folder("etc").file("etc/a", b"first").file("etc/gone", b"hidden").bytes(),
        LayerTar::new().file("etc/a", b"second").program("bin/tool", b"#!").bytes(),
        LayerTar::new().file("etc/.wh.gone", b"").symlink("etc/link", "/etc/a").bytes(),
    ]
}

fn config() -> Value {
    json!({"Env": ["PATH=/bin", "A=b=c"], "User": "1000:50", "WorkingDir": "/srv", "Entrypoint": ["/bin/tool"], "Cmd": ["x"]})
}

fn pull(sandbox: &Sandbox, reference: &str, more: &[&str]) -> banger_e2e::Finished {
    let arguments = ["image", "pull", reference].into_iter().chain(SIZE).chain(more.iter().copied());
    sandbox.banger(arguments).run()
}

fn rootfs(sandbox: &Sandbox, name: &str) -> Ext4 {
    let shown = sandbox.json(&["image", "show", name]);
    let path = shown["rootfs_path"].as_str().expect("an image has a root file system");
    Ext4::load_from_path(path).expect("it is one")
}

fn drafts(sandbox: &Sandbox) -> Vec<PathBuf> {
    sandbox.files_named(".tmp-")
}

#[test]
fn a_layout_of_several_layers_becomes_one_image_with_its_config() {
    let sandbox = Sandbox::with_fake_guests();
    let folder = sandbox.home().join("demo");
    let _ = Layout::new(&folder).add("v1", "amd64", &config(), &layers());
    let pulled = pull(&sandbox, "oci:demo:v1", &[]).expect_success();
    assert_eq!(pulled.stdout_text(), "demo-v1\n");

    let shown = sandbox.json(&["image", "show", "demo-v1"]);
    let expected = json!({
        "env": {"PATH": "/bin", "A": "b=c"}, "user": "1000:50", "working_dir": "/srv", "entrypoint": ["/bin/tool"],
        "cmd": ["x"]
    });
    assert_eq!(shown["config"], expected);
    let source = shown["source"].as_str().expect("an image has a source");
    assert!(source.starts_with(&format!("oci:{}:v1@sha256:", folder.display())), "{source}");

    let root = rootfs(&sandbox, "demo-v1");
    assert_eq!(root.read("/etc/a").expect("it is there"), b"second");
    assert!(!root.exists("/etc/gone").expect("its folder is there"));
    assert_eq!(root.read_link("/etc/link").expect("it is a link").to_str(), Ok("/etc/a"));
    let path = shown["rootfs_path"].as_str().expect("it has one");
    let _ = sandbox.tool("e2fsck", ["-fn", path]).run().expect_success();
}

#[test]
fn the_same_layers_in_an_archive_are_the_same_image() {
    let sandbox = Sandbox::with_fake_guests();
    let mut layout = Layout::new(&sandbox.home().join("demo"));
    let _ = layout.add("v1", "amd64", &config(), &layers());
    layout.archive(&sandbox.home().join("demo.tar"));
    docker_archive(&sandbox.home().join("saved.tar"), "docker.io/library/demo:v2", &config(), &layers());
    let mut seen = Vec::new();
    for (reference, name) in [
        ("oci:demo", "demo"),
        ("oci-archive:demo.tar:v1", "demo-v1"),
        ("docker-archive:saved.tar", "demo-v2"),
    ] {
        assert_eq!(pull(&sandbox, reference, &[]).expect_success().stdout_text(), format!("{name}\n"));
        let shown = sandbox.json(&["image", "show", name]);
        seen.push((shown["digest"].clone(), shown["config"].clone()));
    }
    assert!(seen.iter().all(|image| *image == seen[0]), "{seen:?}");
}

#[test]
fn one_changed_byte_anywhere_is_refused_and_nothing_is_left() {
    let sandbox = Sandbox::with_fake_guests();
    let folder = sandbox.home().join("demo");
    let _ = Layout::new(&folder).add("v1", "amd64", &config(), &layers());
    let blobs = fs::read_dir(folder.join("blobs/sha256")).expect("it is there");
    let blobs: Vec<PathBuf> = blobs.map(|blob| blob.expect("it can be listed").path()).collect();
    assert_eq!(blobs.len(), 5, "a manifest, a config and three layers");
    for blob in &blobs {
        let whole = fs::read(blob).expect("it is readable");
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        for wrong in [changed, whole[..whole.len() - 1].to_vec()] {
            fs::write(blob, wrong).expect("it is writable");
            let refused = pull(&sandbox, "oci:demo", &[]).expect_code(1);
            let name = blob.file_name().and_then(|name| name.to_str()).expect("a digest");
            assert!(refused.stderr_text().contains(name), "{}", refused.stderr_text());
        }
        fs::write(blob, whole).expect("it is writable");
    }
    let _ = sandbox.banger(["image", "show", "demo"]).run().expect_code(1);
    assert_eq!(drafts(&sandbox), Vec::<PathBuf>::new());
    assert_eq!(pull(&sandbox, "oci:demo", &[]).expect_success().stdout_text(), "demo\n");
}

#[test]
fn a_layer_of_another_image_is_refused_although_its_digest_is_right() {
    let sandbox = Sandbox::with_fake_guests();
    docker_archive(&sandbox.home().join("saved.tar"), "a:b", &config(), &layers());
    let bytes = fs::read(sandbox.home().join("saved.tar")).expect("it is there");
    let at = bytes.windows(6).position(|window| window == b"second").expect("the second layer is in it");
    let mut changed = bytes;
    changed[at] = b'S';
    fs::write(sandbox.home().join("saved.tar"), changed).expect("it is writable");
    let refused = pull(&sandbox, "docker-archive:saved.tar", &[]).expect_code(1);
    assert!(refused.stderr_text().contains("layer 2 of 3"), "{}", refused.stderr_text());
}

#[test]
fn a_platform_is_chosen_and_one_that_is_not_there_is_refused_with_those_that_are() {
    let sandbox = Sandbox::with_fake_guests();
    let mut layout = Layout::new(&sandbox.home().join("demo"));
    for architecture in ["amd64", "arm64"] {
        let layer = LayerTar::new().file("etc/arch", architecture.as_bytes()).bytes();
        let _ = layout.add("v1", architecture, &json!({}), &[layer]);
    }
    let _ = pull(&sandbox, "oci:demo:v1", &[]).expect_success();
    assert_eq!(rootfs(&sandbox, "demo-v1").read("/etc/arch").expect("it is there"), b"amd64");
    let foreign =
        pull(&sandbox, "oci:demo", &["--platform", "linux/arm64", "--name", "arm"]).expect_success();
    assert!(foreign.stderr_text().contains("linux/arm64 and does not run"), "{}", foreign.stderr_text());
    assert_eq!(rootfs(&sandbox, "arm").read("/etc/arch").expect("it is there"), b"arm64");
    let refused = pull(&sandbox, "oci:demo", &["--platform", "linux/riscv64", "--name", "x"]).expect_code(1);
    assert!(
        refused.stderr_text().contains("it has `linux/amd64`, `linux/arm64`"),
        "{}",
        refused.stderr_text()
    );
}

#[test]
fn a_name_that_is_taken_is_refused_and_two_at_once_make_it_once() {
    let sandbox = Sandbox::with_fake_guests();
    let _ = Layout::new(&sandbox.home().join("demo")).add("v1", "amd64", &config(), &layers());
    let arguments = ["image", "pull", "oci:demo", "--size", "64M"];
    let both = [sandbox.banger(arguments).start(), sandbox.banger(arguments).start()];
    let codes = both.map(|one| one.finish().code());
    // Whoever comes when it is done already finds the name taken.
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
    let images = sandbox.json(&["image", "list"]);
    let named = images.as_array().expect("a list").iter().filter(|image| image["name"] == "demo");
    assert_eq!(named.count(), 1);
    let again = pull(&sandbox, "oci:demo", &[]).expect_code(1);
    assert!(again.stderr_text().contains("image `demo` already exists"), "{}", again.stderr_text());
    assert_eq!(drafts(&sandbox), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_image_says_what_it_lacks() {
    let sandbox = Sandbox::with_fake_guests();
    let home = sandbox.home();
    fs::create_dir(home.join("empty")).expect("it is writable");
    fs::write(home.join("text"), "text").expect("it is writable");
    fs::write(home.join("squeezed.tar"), b"\x1f\x8b\x08\0").expect("it is writable");
    fs::write(home.join("other.tar"), LayerTar::new().file("x", b"").bytes()).expect("it is writable");
    drop(Layout::new(&home.join("bare")));
    for (reference, reason) in [
        ("oci:nowhere", "no `oci-layout`"),
        ("oci:empty", "no `oci-layout`"),
        ("oci:text", "cannot be read"),
        ("oci:bare", "it contains no image"),
        ("oci:bare:v1", "no image tagged `v1`"),
        ("oci-archive:nowhere.tar", "cannot be read"),
        ("oci-archive:empty", "not a regular file"),
        ("oci-archive:other.tar", "no `oci-layout`"),
        ("docker-archive:other.tar", "neither `manifest.json`"),
        ("docker-archive:squeezed.tar", "is compressed"),
        ("docker-archive:text", "not a tar archive"),
    ] {
        let refused = pull(&sandbox, reference, &[]).expect_code(1);
        assert!(refused.stderr_text().contains(reason), "{reference}: {}", refused.stderr_text());
    }
}
