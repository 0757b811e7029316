//! How a host is spoken to: encrypted, or in the clear where that stays on this machine or was asked for by name.

use super::certificates::{self, CertificatesError};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, Url};
use std::net::IpAddr;
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// A connection that says nothing for this long is dead.
const SILENCE: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 10;

/// How somebody wants a host to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Encrypted; in the clear on this machine where nothing says how to trust it.
    Usual,
    Http,
    Https,
}

/// Why nobody can be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Certificates(CertificatesError),
    #[error("the client cannot be started")]
    Client(#[source] reqwest::Error),
}

/// Where a redirection leads that is not followed.
#[derive(Debug, thiserror::Error)]
enum Redirected {
    #[error("it sent us on to plain http at {0}, which is spoken to this machine's own registries alone")]
    InTheClear(String),
    #[error("it sent us on more than {MOST_REDIRECTS} times")]
    TooOften,
}

/// A client for one host, and whether it speaks in the clear.
pub(super) fn client(host: &str, scheme: Scheme) -> Result<(Client, bool), HttpError> {
    let certificates = certificates::of(host).map_err(HttpError::Certificates)?;
    let in_the_clear = match scheme {
        Scheme::Usual => is_loopback(host) && certificates.is_none(),
        Scheme::Http => true,
        Scheme::Https => false,
    };
    let client = careful(host).tls_certs_merge(certificates.unwrap_or_default()).build();
    Ok((client.map_err(HttpError::Client)?, in_the_clear))
}

/// A client that waits for nobody for ever, and is not led on in the clear to anywhere.
pub(crate) fn careful(host: &str) -> ClientBuilder {
    use_ring();
    let client = Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(SILENCE)
        .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(follow));
    // Another machine's proxy would reach another machine's loopback.
    if is_loopback(host) { client.no_proxy() } else { client }
}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error(Redirected::TooOften);
    }
    if may_follow(attempt.previous(), attempt.url()) {
        return attempt.follow();
    }
    let place = attempt.url().host_str().unwrap_or_default().to_owned();
    attempt.error(Redirected::InTheClear(place))
}

/// Who began encrypted stays so; who did not may be led about this machine, and about the host it speaks to anyway.
fn may_follow(previous: &[Url], next: &Url) -> bool {
    let began_with = |scheme: &str| previous.iter().all(|url| url.scheme() == scheme);
    let host = next.host_str().unwrap_or_default();
    let same = previous.first().is_some_and(|first| first.host_str() == Some(host));
    next.scheme() == "https" || (began_with("http") && (same || is_loopback(host)))
}

/// The whole body; none if it is, or says that it is, longer than that. Then no more than that was read.
pub(crate) async fn read_all(mut response: Response, most: u64) -> reqwest::Result<Option<Vec<u8>>> {
    if response.content_length().is_some_and(|length| length > most) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// What TLS computes with; one that was installed before does as well.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Whether a host is this machine by its very name, without asking anybody what the name means.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for ours in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(ours), "{ours}");
        }
        for others in
            ["docker.io", "localhost.example:5000", "10.0.0.1:5000", "127.0.0.1.example", "[::2]:1", ""]
        {
            assert!(!is_loopback(others), "{others}");
        }
    }

    #[test]
    fn who_began_encrypted_is_not_led_on_in_the_clear() {
        let url = |text: &&str| Url::parse(text).unwrap();
        for (previous, next, wanted) in [
            (&["https://a.test/x"][..], "https://b.test/y", true),
            (&["https://a.test/x"], "http://a.test/y", false),
            (&["https://a.test/x"], "http://127.0.0.1/y", false),
            (&["http://127.0.0.1:1/x"], "http://localhost:2/y", true),
            (&["http://127.0.0.1:1/x"], "http://a.test/y", false),
            (&["http://127.0.0.1:1/x"], "https://a.test/y", true),
            (&["http://127.0.0.1:1/x", "https://a.test/y"], "http://127.0.0.1:1/z", false),
            (&["http://a.test/x"], "http://a.test:8080/y", true),
            (&["http://a.test/x"], "http://b.test/y", false),
        ] {
            let previous: Vec<Url> = previous.iter().map(url).collect();
            assert_eq!(may_follow(&previous, &url(&next)), wanted, "{previous:?} to {next}");
        }
    }
}
