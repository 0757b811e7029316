//! Bundles that come over lines which break.

use crate::bundles::{catalog, published_of};
use crate::listener::{Listener, reply};
use crate::registry::{Line, noise};
use banger_e2e::{LayerTar, Sandbox};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LARGE: usize = 2 << 20;

/// A large bundle of an image, `mine`, the folder it is published in, and its size.
fn published() -> (Sandbox, PathBuf, u64) {
    let (sandbox, _) =
        published_of(LayerTar::new().program("sbin/init", b"x").file("large", &noise(LARGE, 3)));
    let folder = sandbox.home().join("published");
    let size = fs::metadata(folder.join("mine.tar.zst")).expect("it was made").len();
    (sandbox, folder, size)
}

/// Serves a folder's files; what they are followed by is given where that is asked for, if `continues`.
fn serve(folder: PathBuf, continues: bool) -> Listener {
    Listener::start(move |request| match fs::read(folder.join(name(request))) {
        Ok(bytes) => match from(request).filter(|_| continues) {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n");
                reply(&head, &bytes[from..])
            }
            None => reply("HTTP/1.1 200 OK\r\n", &bytes),
        },
        Err(_) => reply("HTTP/1.1 404 Not Found\r\n", b""),
    })
}

fn name(request: &str) -> &str {
    request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

fn from(request: &str) -> Option<usize> {
    let range =
        request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    range?.trim_end_matches('-').parse().ok()
}

/// Has the user's catalog say that the bundle is there.
fn publish_at(sandbox: &Sandbox, folder: &Path, address: &str) {
    let (from, to) = (format!("url = \"{}", folder.display()), format!("url = \"http://{address}"));
    catalog(sandbox, &["mine"], |text| text.replace(&from, &to));
}

fn partial(sandbox: &Sandbox) -> Option<u64> {
    let files = sandbox.files_named(".partial");
    files.first().and_then(|file| file.metadata().ok()).map(|about| about.len())
}

const PULL: [&str; 3] = ["image", "pull", "mine"];

#[test]
fn a_line_that_is_cut_again_and_again_is_continued_where_it_was_cut_and_nothing_stays_behind() {
    let (sandbox, folder, size) = published();
    let server = serve(folder.clone(), true);
    let line = Line::to_port(server.port());
    publish_at(&sandbox, &folder, &line.address());
    line.cut_after(400_000);
    let told = sandbox.banger(PULL).run().expect_success();
    let passed = line.passed();
    assert!(passed < size + size / 4, "{passed} bytes came for {size}");
    assert!(server.requests().iter().filter(|request| from(request).is_some()).count() >= 4);
    assert_eq!(partial(&sandbox), None);
    assert!(told.stderr_text().contains("mine: bundle: "), "{}", told.stderr_text());
}

#[test]
fn what_came_before_ctrl_c_or_before_the_server_vanished_is_continued_by_the_next_command() {
    let (sandbox, folder, size) = published();
    let server = serve(folder.clone(), true);
    let line = Line::to_port(server.port());
    publish_at(&sandbox, &folder, &line.address());
    line.stall_after(1 << 20);
    let pulling = sandbox.banger(PULL).start();
    sandbox.until("half of it is here", || partial(&sandbox).is_some_and(|here| here >= (1 << 20) - 65_536));
    pulling.signal(Signal::INT);
    let _ = pulling.finish().expect_code(130);

    line.open();
    line.vanish_after(400_000);
    let _ = sandbox
        .banger(PULL)
        .run()
        .expect_failure(&["broke off, again and again", "the same command continues it"]);
    assert!(sandbox.files_named(".tmp-").is_empty());
    let here = partial(&sandbox).expect("it was kept");
    assert!(here > 1 << 20, "{here}");

    line.open();
    let before = line.passed();
    let _ = sandbox.banger(PULL).run().expect_success();
    let passed = line.passed() - before;
    assert!(passed < (size - here) + 100_000, "{passed} bytes came for what was left");
    assert_eq!(partial(&sandbox), None);
}

#[test]
fn a_server_that_cannot_continue_is_begun_anew_with_and_its_signature_compared_all_the_same() {
    let (sandbox, folder, _) = published();
    let server = serve(folder.clone(), false);
    let line = Line::to_port(server.port());
    publish_at(&sandbox, &folder, &line.address());
    line.stall_after(1 << 20);
    let pulling = sandbox.banger(PULL).start();
    sandbox.until("half of it is here", || partial(&sandbox).is_some_and(|here| here > 1 << 19));
    pulling.signal(Signal::INT);
    let _ = pulling.finish().expect_code(130);
    line.open();
    let _ = sandbox.banger(PULL).run().expect_success();

    // One that always breaks is left after some attempts.
    let _ = sandbox.banger(["image", "delete", "mine"]).run().expect_success();
    line.cut_after(1 << 20);
    let before = server.requests().len();
    let limited = sandbox.banger(PULL).limit(Duration::from_secs(60)).run();
    let _ = limited.expect_failure(&["broke off, again and again"]);
    let attempts = server.requests().len() - before;
    assert!(attempts < 12, "{attempts} attempts");
}

#[test]
fn what_is_continued_with_other_bytes_is_refused_and_not_kept() {
    let (sandbox, folder, _) = published();
    let is_changed: &'static AtomicBool = Box::leak(Box::default());
    let served = folder.clone();
    let server = Listener::start(move |request| {
        let mut bytes = fs::read(served.join(name(request))).expect("it was made");
        if is_changed.load(Ordering::SeqCst) && bytes.len() > LARGE / 2 {
            bytes[LARGE * 3 / 4] ^= 1;
        }
        let from = from(request).unwrap_or(0);
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        match from {
            0 => reply("HTTP/1.1 200 OK\r\n", &bytes),
            _ => {
                reply(&format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n"), &bytes[from..])
            }
        }
    });
    let line = Line::to_port(server.port());
    publish_at(&sandbox, &folder, &line.address());
    line.stall_after(1 << 20);
    let pulling = sandbox.banger(PULL).start();
    sandbox.until("half of it is here", || partial(&sandbox).is_some_and(|here| here > 1 << 19));
    pulling.signal(Signal::INT);
    let _ = pulling.finish().expect_code(130);
    line.open();
    is_changed.store(true, Ordering::SeqCst);
    let _ = sandbox.banger(PULL).run().expect_failure(&["is damaged: it hashes to"]);
    assert_eq!(partial(&sandbox), None, "what was damaged was kept");
    assert!(sandbox.files_named(".tmp-").is_empty());
    is_changed.store(false, Ordering::SeqCst);
    let _ = sandbox.banger(PULL).run().expect_success();
}
