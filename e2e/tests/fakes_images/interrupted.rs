//! Commands that are interrupted in the middle, and daemons that are killed there: nothing is left over, and the next
//! attempt succeeds.

use crate::listener::{Listener, Pieces, reply};
use crate::registry::{Line, Registry, layout, noise};
use crate::users_files::{VERSION, package, rootfs};
use banger_e2e::{LayerTar, Place, Running, Sandbox, sha256};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LARGE: usize = 2 << 20;
/// So much that a daemon can be met while it works on it.
const VERY_LARGE: usize = 24 << 20;

/// An answer that begins, perhaps, and never comes to its end.
fn stalling(beginning: &[u8]) -> Pieces {
    let never = std::iter::from_fn(|| -> Option<Vec<u8>> {
        loop {
            std::thread::park();
        }
    });
    Box::new(std::iter::once(beginning.to_vec()).chain(never))
}

/// Which request of a pull a registry never answers.
fn silent_at(stage: &'static str) -> Listener {
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let blob = |kind: &str, text: &str| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"), "size": text.len(),
            "digest": format!("sha256:{}", sha256(text.as_bytes()))
        })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", config), "layers": [blob("layer.v1.tar", "x")]
    });
    Listener::start(move |request| match request {
        request if request.contains(stage) => stalling(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"),
        request if request.contains("/manifests/") => {
            reply("HTTP/1.1 200 OK\r\n", manifest.to_string().as_bytes())
        }
        _ => reply("HTTP/1.1 200 OK\r\n", b"{}"),
    })
}

#[test]
fn ctrl_c_ends_a_pull_at_once_whatever_of_the_registry_it_waits_for() {
    let sandbox = Sandbox::with_fake_guests();
    let before = count(&sandbox);
    for stage in ["/manifests/", "/blobs/"] {
        let registry = silent_at(stage);
        let reference = format!("{}/app:v1", registry.address());
        let pulling = sandbox.banger(["image", "pull", &reference]).limit(Duration::from_secs(20)).start();
        sandbox.until("it waits", || registry.requests().concat().contains(stage));
        pulling.signal(Signal::INT);
        let _ = pulling.finish().expect_code(130);
        assert_eq!(count(&sandbox), before, "{stage}");
        assert!(sandbox.files_named(".tmp-").is_empty(), "{stage}");
    }
    // A token that never comes, either.
    let tokens = Listener::start(|_| stalling(b""));
    let challenge = format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n",
        tokens.address()
    );
    let registry = Listener::start(move |_| reply(&challenge, b"{}"));
    let reference = format!("{}/app:v1", registry.address());
    let pulling = sandbox.banger(["image", "pull", &reference]).limit(Duration::from_secs(20)).start();
    sandbox.until("it waits", || !tokens.requests().is_empty());
    pulling.signal(Signal::INT);
    let _ = pulling.finish().expect_code(130);
}

/// Something that a daemon works on for a while, and what undoes it.
struct Work {
    verb: Vec<String>,
    undo: [&'static str; 3],
}

fn works(sandbox: &Sandbox) -> Vec<Work> {
    layout(sandbox, "large", &[LayerTar::new().file("noise", &noise(VERY_LARGE, 7)).bytes()]);
    let _ = rootfs(sandbox, "mine", &[("sbin/init", "x")]);
    // Without holes, and so nothing that could be copied in no time.
    append(&sandbox.home().join("mine.ext4"), &noise(VERY_LARGE, 8));
    package(&sandbox.home().join("package"), VERSION);
    let vmlinux = sandbox.home().join("package/boot").join(format!("vmlinux-{VERSION}"));
    append(&vmlinux, &noise(VERY_LARGE, 9));
    let register = ["image", "register", "--name", "there", "--rootfs", "mine.ext4"];
    let _ = sandbox.banger(register).run().expect_success();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    vec![
        Work { verb: words("image pull oci:large --size 128M --name one"), undo: ["image", "delete", "one"] },
        Work { verb: words("kernel import one --from package"), undo: ["kernel", "rm", "one"] },
        Work { verb: words("image promote there"), undo: ["image", "delete", "there"] },
    ]
}

fn append(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("the home is writable");
}

fn count(sandbox: &Sandbox) -> Option<usize> {
    sandbox.json(&["image", "list"]).as_array().map(Vec::len)
}

fn drafts(sandbox: &Sandbox) -> Vec<PathBuf> {
    sandbox.files_named(".tmp-")
}

/// A command whose daemon has begun to write.
fn begun(sandbox: &Sandbox, verb: &[String]) -> Running {
    let running = sandbox.banger(verb).start();
    sandbox.until("a draft is there", || !drafts(sandbox).is_empty());
    running
}

/// What was there before is there, and what was begun is there as a whole or not at all.
fn assert_whole_or_nothing(sandbox: &Sandbox, work: &Work) {
    assert!(drafts(sandbox).is_empty(), "{:?}: {:?}", work.verb, drafts(sandbox));
    assert_eq!(sandbox.json(&["image", "show", "there"])["name"], "there");
    let again = sandbox.banger(&work.verb).run();
    let settled = again.code() == Some(0) || again.stderr_text().contains("already");
    assert!(settled, "{:?}: {}", work.verb, again.stderr_text());
}

#[test]
fn ctrl_c_while_the_daemon_writes_leaves_nothing_and_the_next_attempt_succeeds() {
    let sandbox = Sandbox::with_fake_guests();
    for work in works(&sandbox) {
        let running = begun(&sandbox, &work.verb);
        // The daemon hears of it where it was met.
        sandbox.halt("bangerd");
        running.signal(Signal::INT);
        sandbox.go_on("bangerd");
        let _ = running.finish().expect_code(130);
        assert_whole_or_nothing(&sandbox, &work);
        let _ = sandbox.banger(work.undo).run().expect_success();
    }
}

#[test]
fn a_daemon_that_is_killed_while_it_writes_leaves_a_draft_to_the_next_which_removes_it() {
    let sandbox = Sandbox::with_fake_guests();
    for work in works(&sandbox) {
        let running = begun(&sandbox, &work.verb);
        sandbox.halt("bangerd");
        sandbox.kill("bangerd");
        let finished = running.finish();
        assert_ne!(finished.code(), Some(0), "{:?}", work.verb);
        let _ = sandbox.banger(["image", "list"]).run().expect_success();
        assert_whole_or_nothing(&sandbox, &work);
        let _ = sandbox.banger(work.undo).run().expect_success();
    }
}

#[test]
fn a_daemon_that_is_killed_while_it_deletes_leaves_all_of_it_or_nothing() {
    let sandbox = Sandbox::with_fake_guests();
    layout(&sandbox, "one", &[LayerTar::new().file("noise", &noise(LARGE, 7)).bytes()]);
    let pull = ["image", "pull", "oci:one", "--size", "64M", "--name", "one"];
    for _ in 0..5 {
        let _ = sandbox.banger(pull).run().expect_success();
        let deleting = sandbox.banger(["image", "delete", "one"]).start();
        sandbox.kill("bangerd");
        let _ = deleting.finish();
        let listed = sandbox.json(&["image", "list"]).to_string().contains("\"one\"");
        assert_eq!(listed, sandbox.state().join("images/one").exists());
        assert!(drafts(&sandbox).is_empty());
        if listed {
            let _ = sandbox.banger(["image", "delete", "one"]).run().expect_success();
        }
    }
}

#[test]
fn a_cache_that_is_full_or_read_only_is_told_and_no_image_comes_of_it() {
    for hold in [Place::with_small_cache as fn(&std::path::Path) -> Place, Place::with_read_only_cache] {
        let mut sandbox = Sandbox::with_fake_guests();
        let registry = Registry::start(&sandbox);
        layout(&sandbox, "one", &[LayerTar::new().file("large", &noise(LARGE, 5)).bytes()]);
        registry.fill(&sandbox, "one:v1", "app:v1");
        let before = count(&sandbox);
        sandbox.move_into(hold(&sandbox.cache()));
        let reference = format!("{}/app:v1", registry.address());
        let told = sandbox.banger(["image", "pull", &reference, "--size", "64M"]).run().expect_code(1);
        let said = told.stderr_text();
        assert!(said.contains("No space left") || said.contains("Read-only"), "{said}");
        assert_eq!(count(&sandbox), before);
        assert!(drafts(&sandbox).is_empty());
        let _ = sandbox.banger(["daemon", "stop"]).run().expect_success();
    }
}

#[test]
fn on_a_terminal_each_layer_that_comes_has_a_line_and_a_log_hears_when_it_is_here() {
    let sandbox = Sandbox::with_fake_guests();
    let registry = Registry::start(&sandbox);
    let layers = [21, 22].map(|seed| LayerTar::new().file("large", &noise(LARGE, seed)).bytes());
    layout(&sandbox, "two", &layers);
    registry.fill(&sandbox, "two:v1", "app:v1");
    let line = Line::to(&registry);
    let reference = format!("{}/app:v1", line.address());
    line.stall_after(LARGE as u64);
    let program = sandbox.programs().join("banger").display().to_string();
    let shown = format!("{program} image pull {reference} --size 64M");
    let mut pulling = sandbox.tool("script", ["-qefc", &shown, "/dev/null"]).env("TERM", "xterm").start();
    for words in ["layer 1 of 2 [", "layer 2 of 2 [", " of 2."] {
        pulling.wait_for(words);
    }
    pulling.signal(Signal::TERM);
    let _ = pulling.finish();
    sandbox.until("the pull has ended", || sandbox.running("banger").is_empty());

    line.open();
    let told = sandbox.banger(["image", "pull", &reference, "--size", "64M"]).run().expect_success();
    let said = told.stderr_text();
    for words in
        ["app-v1: asking 127.0.0.1:", "app-v1: downloading\n", "layer 1 of 2: 2.", "layer 2 of 2: 2."]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let _ = sandbox.banger(["image", "delete", "app-v1"]).run().expect_success();
    let told = sandbox.banger(["image", "pull", &reference, "--size", "64M"]).run().expect_success();
    assert_eq!(told.stderr_text().matches(" MiB was here already\n").count(), 2, "{}", told.stderr_text());
}
