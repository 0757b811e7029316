//! Mirrors of a registry: asked in their order and before it, believed no more than it, and told nothing of each other.

use crate::listener::{Listener, reply};
use crate::registry::{CREDENTIALS, Line, Registry, layout, noise};
use crate::tokens::base64;
use banger_e2e::{Finished, LayerTar, Sandbox};
use std::fs;
use std::path::Path;

const LARGE: usize = 2 << 20;

fn pull(sandbox: &Sandbox, reference: &str) -> Finished {
    sandbox.banger(["image", "pull", reference, "--size", "64M"]).run()
}

fn mirrored(sandbox: &Sandbox, registry: &str, mirrors: &[&str]) {
    sandbox.configure(&format!("[registry_mirrors]\n\"{registry}\" = {mirrors:?}\n"));
}

/// A registry with one image of one large layer in it.
fn filled(sandbox: &Sandbox, name: &str) -> Registry {
    let registry = Registry::start_in(sandbox, name, "");
    layout(sandbox, "one", &[LayerTar::new().file("large", &noise(LARGE, 9)).bytes()]);
    registry.fill(sandbox, "one:v1", "team/app:v1");
    registry
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_only_for_what_it_does_not_have() {
    let sandbox = Sandbox::with_fake_guests();
    let (mirror, registry) = (filled(&sandbox, "mirror"), filled(&sandbox, "registry"));
    let [to_mirror, to_registry] = [&mirror, &registry].map(Line::to);
    let nobody = "127.0.0.1:1";
    mirrored(&sandbox, &to_registry.address(), &[nobody, &format!("http://{}/", to_mirror.address())]);
    let reference = format!("{}/team/app:v1", to_registry.address());
    let told = pull(&sandbox, &reference).expect_success();
    assert!(to_mirror.passed() > LARGE as u64, "the mirror was not asked");
    assert_eq!(to_registry.passed(), 0, "the registry was asked");
    let said = told.stderr_text();
    assert!(
        said.contains("warning: 127.0.0.1:1 did not serve: ") && said.contains("Connection refused"),
        "{said}"
    );
    let source = sandbox.json(&["image", "show", "app-v1"])["source"].to_string();
    assert!(source.contains(&format!("{}/team/app:v1@sha256:", to_registry.address())), "{source}");

    // What only the registry has is had from it.
    registry.fill(&sandbox, "one:v1", "team/other:v1");
    let told = pull(&sandbox, &format!("{}/team/other:v1", to_registry.address())).expect_success();
    let said = told.stderr_text();
    assert!(said.contains(&format!("{} did not serve: ", to_mirror.address())), "{said}");
    assert!(to_registry.passed() > 0);

    let shown = sandbox.banger(["doctor"]).run();
    let settings = shown.stdout_text();
    assert!(settings.contains("registry_mirrors") && settings.contains(nobody), "{settings}");
}

#[test]
fn a_mirror_with_a_flipped_byte_or_a_line_that_dies_is_passed_over_for_the_next() {
    let sandbox = Sandbox::with_fake_guests();
    let mirrors = ["flipped", "dying"].map(|name| filled(&sandbox, name));
    let registry = filled(&sandbox, "registry");
    let blob = mirrors[0].largest_blob();
    let mut bytes = fs::read(&blob).expect("the registry's folder is readable");
    bytes[LARGE / 2] ^= 1;
    fs::write(&blob, bytes).expect("the registry's folder is writable");
    let (dying, to_registry) = (Line::to(&mirrors[1]), Line::to(&registry));
    dying.vanish_after(LARGE as u64 / 2);
    mirrored(&sandbox, &to_registry.address(), &[&mirrors[0].address(), &dying.address()]);
    let told = pull(&sandbox, &format!("{}/team/app:v1", to_registry.address())).expect_success();
    let said = told.stderr_text();
    for words in ["is damaged: it hashes to", "broke off, again and again"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let passed = to_registry.passed();
    assert!(passed < (LARGE * 3 / 4) as u64, "what came from the mirror was fetched again: {passed} bytes");
}

#[test]
fn what_a_broken_mirror_began_is_not_blamed_on_who_continued_it() {
    let sandbox = Sandbox::with_fake_guests();
    let (mirror, registry) = (filled(&sandbox, "mirror"), filled(&sandbox, "registry"));
    let blob = mirror.largest_blob();
    let mut bytes = fs::read(&blob).expect("the registry's folder is readable");
    bytes[LARGE / 4] ^= 1;
    fs::write(&blob, bytes).expect("the registry's folder is writable");
    let (dying, to_registry) = (Line::to(&mirror), Line::to(&registry));
    dying.vanish_after(LARGE as u64 / 2);
    mirrored(&sandbox, &to_registry.address(), &[&dying.address()]);
    let told = pull(&sandbox, &format!("{}/team/app:v1", to_registry.address())).expect_success();
    let said = told.stderr_text();
    assert!(said.contains("broke off, again and again") && !said.contains("is damaged"), "{said}");
    assert!(to_registry.passed() > LARGE as u64, "the registry was not asked for all of it");
}

#[test]
fn a_mirrors_repositories_may_lie_below_a_word_of_its_own() {
    let sandbox = Sandbox::with_fake_guests();
    let mirror = Registry::start_in(&sandbox, "mirror", "");
    layout(&sandbox, "one", &[LayerTar::new().file("a", b"a").bytes()]);
    mirror.fill(&sandbox, "one:v1", "hub/library/app:v1");
    mirrored(&sandbox, "docker.io", &[&format!("{}/hub", mirror.address())]);
    let _ = pull(&sandbox, "docker.io/library/app:v1").expect_success();
}

#[test]
fn nobody_is_told_the_credentials_of_another() {
    let sandbox = Sandbox::with_fake_guests();
    // Both want to know who we are, each in its own way, and both send us on to the other's ground.
    let basic = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n";
    let [mirror, registry] = [basic, basic].map(|head| Listener::start(move |_| reply(head, b"{}")));
    mirrored(&sandbox, &registry.address(), &[&mirror.address()]);
    let docker = sandbox.home().join(".docker");
    fs::create_dir(&docker).expect("the sandbox is writable");
    log_in(&docker, &[(&registry.address(), CREDENTIALS), (&mirror.address(), "other:secret of the mirror")]);
    let _ = pull(&sandbox, &format!("{}/app:v1", registry.address())).expect_code(1);
    let [own, others] = [CREDENTIALS, "other:secret of the mirror"].map(|words| base64(words.as_bytes()));
    let (asked_mirror, asked_registry) = (mirror.requests().concat(), registry.requests().concat());
    assert!(asked_registry.contains(&own) && !asked_registry.contains(&others), "{asked_registry}");
    assert!(asked_mirror.contains(&others) && !asked_mirror.contains(&own), "{asked_mirror}");

    // Without any of its own, a mirror is asked as nobody.
    log_in(&docker, &[(&registry.address(), CREDENTIALS)]);
    let before = mirror.requests().len();
    let _ = pull(&sandbox, &format!("{}/app:v1", registry.address())).expect_code(1);
    let asked = mirror.requests().split_off(before).concat();
    assert!(!asked.is_empty() && !asked.to_lowercase().contains("authorization"), "{asked}");
}

#[test]
fn a_redirection_to_another_host_takes_no_credentials_along() {
    let sandbox = Sandbox::with_fake_guests();
    let storage = Listener::start(|_| reply("HTTP/1.1 404 Not Found\r\n", b""));
    let place = storage.address();
    let registry = Listener::start(move |request| {
        let moved = format!("HTTP/1.1 307 Moved\r\nLocation: http://{place}/x\r\n");
        match request {
            request if request.starts_with("GET /v2/ ") => {
                reply("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n", b"")
            }
            _ => reply(&moved, b""),
        }
    });
    let docker = sandbox.home().join(".docker");
    fs::create_dir(&docker).expect("the sandbox is writable");
    log_in(&docker, &[(&registry.address(), CREDENTIALS)]);
    let _ = pull(&sandbox, &format!("{}/app:v1", registry.address())).expect_code(1);
    assert!(registry.requests().concat().contains(&base64(CREDENTIALS.as_bytes())));
    let asked = storage.requests().concat();
    assert!(asked.starts_with("GET /x ") && !asked.to_lowercase().contains("authorization"), "{asked}");
}

#[test]
fn whoever_a_registry_sends_us_on_to_cannot_ask_for_its_credentials() {
    let sandbox = Sandbox::with_fake_guests();
    let docker = sandbox.home().join(".docker");
    fs::create_dir(&docker).expect("the sandbox is writable");
    let secret = base64(CREDENTIALS.as_bytes());
    let thief = Listener::start(|_| reply("HTTP/1.1 200 OK\r\n", br#"{"token":"x"}"#));
    let tokens = format!("Bearer realm=\"http://{}/token\"", thief.address());
    for challenge in [tokens.as_str(), "Basic realm=\"x\""] {
        let demand = format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\n");
        let storage = Listener::start(move |_| reply(&demand, b"{}"));
        let moved = format!("HTTP/1.1 307 Moved\r\nLocation: http://{}/x\r\n", storage.address());
        let registry = Listener::start(move |request| match request.starts_with("GET /v2/ ") {
            true => reply("HTTP/1.1 200 OK\r\n", b"{}"),
            false => reply(&moved, b""),
        });
        log_in(&docker, &[(&registry.address(), CREDENTIALS)]);
        let told = pull(&sandbox, &format!("{}/app:v1", registry.address())).expect_code(1).stderr_text();
        assert!(told.contains("does not let us in"), "{told}");
        for (name, asked) in [("storage", &storage), ("thief", &thief), ("registry", &registry)] {
            let asked = asked.requests().concat();
            assert!(!asked.contains(&secret), "{name} for {challenge}: {asked}");
        }
    }
    assert!(thief.requests().is_empty(), "{:?}", thief.requests());
}

fn log_in(docker: &Path, accounts: &[(&str, &str)]) {
    let one = |(host, words): &(&str, &str)| format!(r#""{host}":{{"auth":"{}"}}"#, base64(words.as_bytes()));
    let auths: Vec<String> = accounts.iter().map(one).collect();
    fs::write(docker.join("config.json"), format!(r#"{{"auths":{{{}}}}}"#, auths.join(",")))
        .expect("the sandbox is writable");
}
