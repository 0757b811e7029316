//! Registries that say more than anybody should listen to: each is left early.

use crate::listener::{Listener, Pieces, reply};
use banger_e2e::{Finished, Sandbox, sha256};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest manifest there may be, and what may be on its way when it was too long.
const ENOUGH: u64 = (4 << 20) + (8 << 20);

fn pull(sandbox: &Sandbox, registry: &Listener) -> Finished {
    let reference = format!("{}/app:v1", registry.address());
    sandbox.banger(["image", "pull", &reference, "--size", "64M"]).limit(Duration::from_secs(60)).run()
}

/// A body that never ends, and how much of it somebody took.
fn endless(taken: &Arc<AtomicU64>) -> Pieces {
    let taken = Arc::clone(taken);
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let body = std::iter::repeat_with(move || {
        taken.fetch_add(1 << 16, Ordering::SeqCst);
        vec![b' '; 1 << 16]
    });
    Box::new(std::iter::once(head).chain(body))
}

/// A body that says it is far longer than it is.
fn boasting() -> Pieces {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", 1_u64 << 40);
    Box::new([head.into_bytes(), b"{".to_vec()].into_iter())
}

#[test]
fn a_manifest_without_an_end_and_one_that_claims_to_be_huge_are_refused_before_they_are_read() {
    let sandbox = Sandbox::with_fake_guests();
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let registry = Listener::start(move |request| match request {
        request if request.starts_with("GET /v2/ ") => reply("HTTP/1.1 200 OK\r\n", b"{}"),
        _ => endless(&counter),
    });
    let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
    assert!(said.contains("`app:v1` is longer than 4194304 bytes"), "{said}");
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken < ENOUGH, "{taken} bytes were taken");

    let registry = Listener::start(|request| match request {
        request if request.starts_with("GET /v2/ ") => reply("HTTP/1.1 200 OK\r\n", b"{}"),
        _ => boasting(),
    });
    let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
    assert!(said.contains("`app:v1` is longer than 4194304 bytes"), "{said}");
}

#[test]
fn a_token_without_an_end_is_refused_and_so_is_what_greets_without_one() {
    let sandbox = Sandbox::with_fake_guests();
    for is_first in [true, false] {
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let tokens = Listener::start(move |_| endless(&counter));
        let challenge = format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"x\"\r\n",
            tokens.address()
        );
        let registry = Listener::start(move |request| match request.starts_with("GET /v2/ ") {
            true if !is_first => reply("HTTP/1.1 200 OK\r\n", b"{}"),
            _ => reply(&challenge, b"{}"),
        });
        let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
        assert!(said.contains("what it gives as a token is longer than"), "{said}");
        assert!(taken.load(Ordering::SeqCst) < ENOUGH);
    }
    // A greeting is looked at and not read; so is a refusal, beyond its beginning.
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let registry = Listener::start(move |request| match request {
        request if request.starts_with("GET /v2/ ") => endless(&counter),
        _ => {
            let body = std::iter::repeat_with(|| vec![b'x'; 1 << 16]);
            Box::new(std::iter::once(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n".to_vec()).chain(body))
        }
    });
    let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
    assert!(said.contains("it answered 500") && said.len() < 2000, "{said}");
    assert!(taken.load(Ordering::SeqCst) < ENOUGH);
}

#[test]
fn a_config_longer_than_promised_or_than_any_may_be_is_refused() {
    let sandbox = Sandbox::with_fake_guests();
    let registry_with = |size: u64, config: fn(&Arc<AtomicU64>) -> Pieces, taken: &Arc<AtomicU64>| {
        let blob = |kind: &str, size: u64| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"), "size": size,
                "digest": format!("sha256:{}", sha256(b"x"))
            })
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("config.v1+json", size), "layers": [blob("layer.v1.tar", 1)]
        });
        let (manifest, taken) = (manifest.to_string(), Arc::clone(taken));
        Listener::start(move |request| match request {
            request if request.contains("/manifests/") => reply("HTTP/1.1 200 OK\r\n", manifest.as_bytes()),
            request if request.contains("/blobs/") => config(&taken),
            _ => reply("HTTP/1.1 200 OK\r\n", b"{}"),
        })
    };
    let taken = Arc::new(AtomicU64::new(0));
    let registry = registry_with((4 << 20) + 1, |_| boasting(), &taken);
    let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
    assert!(said.contains("the image's config is longer than 4194304 bytes"), "{said}");
    assert!(!registry.requests().concat().contains("/blobs/"), "it was asked for all the same");

    for config in [endless as fn(&Arc<AtomicU64>) -> Pieces, |_| boasting()] {
        let registry = registry_with(100, config, &taken);
        let said = pull(&sandbox, &registry).expect_code(1).stderr_text();
        assert!(said.contains("is longer than the 100 bytes that were promised"), "{said}");
    }
    assert!(taken.load(Ordering::SeqCst) < ENOUGH);
    let kept: Vec<u64> = sandbox
        .files_named(".partial")
        .iter()
        .map(|file| file.metadata().expect("nobody else is there").len())
        .collect();
    assert_eq!(kept, [0], "of the config that was asked for nothing is kept");
}
