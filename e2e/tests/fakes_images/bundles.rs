//! Bundles: made of what is here, published in a catalog of the user's own, and taken from it only as they were made.

use crate::users_files::{VERSION, package};
use banger_e2e::{Finished, LayerTar, Layout, Sandbox};
use ext4_view::Ext4;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// A publisher's key, in the sandbox's home.
fn key(sandbox: &Sandbox, name: &str) -> PathBuf {
    let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("keys can be made");
    let file = sandbox.home().join(name);
    let text = keys.sk.to_box(None).expect("a key can be written down").into_string();
    fs::write(&file, text).expect("the home is writable");
    file
}

fn bundle(sandbox: &Sandbox, kind: &str, name: &str, key: &Path) {
    let [key, banger, program] =
        [key.to_owned(), sandbox.programs().join("banger"), sandbox.programs().join("banger-bundle")]
            .map(|path| path.display().to_string());
    let arguments = [kind, name, "--key", &key, "--out", "published", "--banger", &banger];
    let _ = sandbox.tool(&program, arguments).run().expect_success();
}

/// Makes the user's catalog say what the bundles' own entries say, changed.
pub(crate) fn catalog(sandbox: &Sandbox, names: &[&str], change: impl Fn(String) -> String) {
    let folder = sandbox.configuration().join("banger/catalog.d");
    fs::create_dir_all(&folder).expect("the sandbox is writable");
    let published = sandbox.home().join("published");
    let text: String = names
        .iter()
        .map(|name| fs::read_to_string(published.join(format!("{name}.toml"))).expect("it was made"))
        .map(|text| text.replace("url = \"", &format!("url = \"{}/", published.display())))
        .collect();
    fs::write(folder.join("mine.toml"), change(text)).expect("the sandbox is writable");
}

fn pull(sandbox: &Sandbox, name: &str) -> Finished {
    sandbox.banger(["image", "pull", name]).run()
}

/// An image with something in `/root`, and a kernel, both bundled and gone.
pub(crate) fn published() -> (Sandbox, PathBuf) {
    published_of(
        LayerTar::new().file("root/.bashrc", b"PS1=x").program("sbin/init", b"x").file("etc/x", b"y"),
    )
}

/// The same of another layer.
pub(crate) fn published_of(layer: LayerTar) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_fake_guests();
    let _ = Layout::new(&sandbox.home().join("mine")).add(
        "v1",
        "amd64",
        &json!({"User": "1000"}),
        &[layer.bytes()],
    );
    let _ = sandbox.banger(["image", "pull", "oci:mine", "--size", "64M"]).run().expect_success();
    package(&sandbox.home().join("package"), VERSION);
    let _ = sandbox.banger(["kernel", "import", "core", "--from", "package"]).run().expect_success();
    let key = key(&sandbox, "key");
    bundle(&sandbox, "image", "mine", &key);
    bundle(&sandbox, "kernel", "core", &key);
    let _ = sandbox.banger(["image", "delete", "mine"]).run().expect_success();
    let _ = sandbox.banger(["kernel", "rm", "core"]).run().expect_success();
    (sandbox, key)
}

#[test]
fn what_was_bundled_is_offered_and_taken_whole() {
    let (sandbox, _) = published();
    catalog(&sandbox, &["mine", "core"], |text| text);
    let offered = sandbox.json(&["image", "list", "--available"]);
    let states: Vec<_> =
        offered.as_array().expect("a list").iter().map(|one| (&one["name"], &one["pulled"])).collect();
    assert_eq!(states, [(&"debian-bookworm".into(), &true.into()), (&"mine".into(), &false.into())]);
    assert_eq!(pull(&sandbox, "mine").expect_success().stdout_text(), "mine\n");
    assert_eq!(sandbox.json(&["image", "list", "--available"])[1]["pulled"], true);

    let shown = sandbox.json(&["image", "show", "mine"]);
    assert_eq!(
        (&shown["has_init"], &shown["has_agent"], &shown["managed"]),
        (&true.into(), &true.into(), &true.into())
    );
    assert_eq!(shown["config"]["user"], "1000");
    assert!(
        shown["source"].as_str().is_some_and(|source| source.contains("mine.tar.zst@sha256:")),
        "{shown}"
    );
    let read = |key: &str, file: &str| {
        let path = shown[key].as_str().expect("it has one");
        Ext4::load_from_path(path).and_then(|image| image.read(file)).expect("it is there")
    };
    assert_eq!(read("rootfs_path", "/etc/x"), b"y");
    assert_eq!(read("work_seed_path", "/.bashrc"), b"PS1=x");
    let _ = sandbox
        .tool("e2fsck", ["-fn", shown["rootfs_path"].as_str().expect("it has one")])
        .run()
        .expect_success();

    let _ = sandbox.banger(["kernel", "pull", "core"]).run().expect_success();
    let kernel = sandbox.json(&["kernel", "show", "core"]);
    assert_eq!(kernel["version"], VERSION);
    let run = ["vm", "run", "--rm", "--image", "mine", "--kernel", "core", "--", "true"];
    let _ = sandbox.banger(run).run().expect_success();
}

#[test]
fn a_bundle_that_is_not_what_its_publisher_made_is_refused_and_leaves_nothing() {
    let (sandbox, _) = published();
    let published = sandbox.home().join("published");
    let (archive, signature) = (published.join("mine.tar.zst"), published.join("mine.tar.zst.minisig"));
    let whole = fs::read(&archive).expect("it was made");
    let signed = fs::read_to_string(&signature).expect("it was made");
    let refused = |reason: &str| {
        let said = pull(&sandbox, "mine").expect_code(1).stderr_text();
        assert!(said.contains(reason), "{said}");
        let _ = sandbox.banger(["image", "show", "mine"]).run().expect_code(1);
        assert!(sandbox.files_named(".tmp-").is_empty());
    };
    catalog(&sandbox, &["mine"], |text| text);
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&archive, &changed).expect("it is writable");
    refused("is damaged: it hashes to");
    fs::write(&archive, &whole[..whole.len() - 1]).expect("it is writable");
    refused("bytes, and not");
    fs::write(&archive, &whole).expect("it is writable");

    // The catalog agrees with the changed bytes; the signature does not.
    fs::write(&archive, &changed).expect("it is writable");
    let [old, new] = [&whole, &changed].map(|bytes| banger_e2e::sha256(bytes));
    catalog(&sandbox, &["mine"], |text| text.replace(&old, &new));
    refused("the signature is not of");
    fs::write(&archive, &whole).expect("it is writable");
    catalog(&sandbox, &["mine"], |text| text);

    fs::remove_file(&signature).expect("it is writable");
    refused("has no signature file next to it");
    fs::copy(published.join("core.tar.zst.minisig"), &signature).expect("it is writable");
    refused("the signature is not of");
    fs::write(&signature, &signed).expect("it is writable");

    // A signed bundle of the same publisher under another's name.
    catalog(&sandbox, &["mine"], |text| text.replace("name = \"mine\"", "name = \"yours\""));
    let said = pull(&sandbox, "yours").expect_code(1).stderr_text();
    assert!(said.contains("was signed as \"banger image mine\""), "{said}");

    let stranger = key(&sandbox, "stranger");
    let public = fs::read_to_string(published.join("mine.toml")).expect("it was made");
    let public = public
        .split("public_key = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a key")
        .to_owned();
    // The stranger's own bundle of the kernel says what their key is.
    let _ = sandbox.banger(["kernel", "import", "core", "--from", "package"]).run().expect_success();
    bundle(&sandbox, "kernel", "core", &stranger);
    let theirs = fs::read_to_string(published.join("core.toml")).expect("it was made");
    let theirs = theirs
        .split("public_key = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a key")
        .to_owned();
    catalog(&sandbox, &["mine"], |text| text.replace(&public, &theirs));
    refused("was signed with another key");

    catalog(&sandbox, &["mine"], |text| text);
    let _ = pull(&sandbox, "mine").expect_success();
}

#[test]
fn a_catalog_that_is_wrong_is_told_with_its_line_by_whoever_needs_it() {
    let (sandbox, _) = published();
    catalog(&sandbox, &["mine"], |text| text.replace("sha256 =", "sha265 ="));
    for command in [
        &["image", "list", "--available"][..],
        &["image", "pull", "mine"],
        &["kernel", "list", "--available"],
    ] {
        let failed = sandbox.banger(command).run();
        let _ = failed.expect_failure(&["catalog.d/mine.toml:7: ", "did you mean `sha256`?"]);
    }
    // What needs no catalog goes on.
    let _ = sandbox.banger(["vm", "run", "--rm", "--", "true"]).run().expect_success();
}
