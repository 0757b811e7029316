//! Images in registries.
//!
//! [`pull`] blocks; inside it is one thread that waits for several downloads at once, and the only asynchronous code
//! outside the daemon. Credentials are those of `docker login`, read in the user's own session.
//!
//! A registry is not believed: manifests and blobs are compared with the digests that led to them, nothing longer
//! than promised is kept, and plain HTTP is spoken to this machine alone, also where a registry sends us on.

mod certificates;
mod credentials;
mod download;
mod manifests;

use crate::cache::{BlobCache, CacheError};
use crate::config::ConfigError;
use crate::manifest::{Descriptor, ManifestError};
use crate::metadata::MetadataError;
use crate::{Image, Layer, Platform, RegistryReference, config};
use banger_protocol::digest::Digest;
use certificates::CertificatesError;
use credentials::CredentialError;
use download::Download;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Layers that come at once.
const PARALLEL: usize = 4;
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// A connection that says nothing for this long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// An image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("the registry client cannot be started")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the credentials for {registry} cannot be read")]
    Credentials {
        registry: String,
        #[source]
        source: CredentialError,
    },
    #[error("the certificates that {registry} is to be trusted by cannot be used")]
    Certificates {
        registry: String,
        #[source]
        source: CertificatesError,
    },
    #[error(
        "{registry} sends us to {to} for {what}, and plain http is for this machine's own registries alone"
    )]
    PlainHttp { registry: String, what: String, to: String },
    #[error("{registry} does not let us in")]
    Unauthorized {
        registry: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("{registry} has no {what}")]
    NotFound {
        registry: String,
        what: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("{registry} did not give {what}")]
    Registry {
        registry: String,
        what: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("{what} broke off, again and again")]
    BrokeOff { what: String, source: io::Error },
    #[error("{what} is damaged: it hashes to {found}")]
    Damaged { what: String, found: Digest },
    #[error("{what} is longer than the {size} bytes that were promised")]
    TooLong { what: String, size: u64 },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("it was interrupted")]
    Cancelled,
}

impl PullError {
    /// What its user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { registry, .. } => {
                Some(format!("`docker login {registry}` or `skopeo login` leaves credentials that are used"))
            }
            Self::Registry { source, .. } if is_no_connection(source) => Some(
                "either it is not there, or it sent us on to plain http, which is spoken to this machine's own \
                 registries alone"
                    .to_owned(),
            ),
            Self::BrokeOff { .. } => Some("what came is kept: the same command continues it".to_owned()),
            Self::Damaged { .. } => Some("the registry's copy is broken, or somebody changed it".to_owned()),
            Self::Manifest(ManifestError::NoPlatform { .. })
            | Self::Config(ConfigError::OtherPlatform { .. }) => {
                Some("`--platform` asks for another; only this machine's own can run here".to_owned())
            }
            _ => None,
        }
    }
}

/// Who watches a pull.
pub struct Watch<'a> {
    /// Told how many bytes of how many are here.
    pub progress: &'a dyn Fn(u64, u64),
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("cancel", self.cancel).finish_non_exhaustive()
    }
}

/// Ends a pull from another thread.
#[derive(Clone, Debug, Default)]
pub struct Cancel(CancellationToken);

impl Cancel {
    /// Ends when somebody cancels.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// Brings an image here. What the cache has is not fetched, and what was cut off stays there to be continued.
///
/// # Errors
/// With the reason, when it cannot be had or is not what its digests say.
pub fn pull(
    reference: &RegistryReference,
    platform: &Platform,
    cache: &BlobCache,
    watch: &Watch<'_>,
) -> Result<Image, PullError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| PullError::Client(error.into()))?;
    runtime.block_on(async {
        tokio::select! {
            pulled = pull_on(reference, platform, cache, watch) => pulled,
            () = watch.cancel.0.cancelled() => Err(PullError::Cancelled),
        }
    })
}

async fn pull_on(
    reference: &RegistryReference,
    platform: &Platform,
    cache: &BlobCache,
    watch: &Watch<'_>,
) -> Result<Image, PullError> {
    let credentials = credentials::of(&reference.registry);
    let auth = credentials
        .map_err(|source| PullError::Credentials { registry: reference.registry.clone(), source })?;
    let registry = Registry { client: client(&reference.registry)?, reference };
    let (digest, manifest) = manifests::find(&registry, &auth, platform).await?;

    let total = manifest.layers.iter().map(|layer| layer.size).sum();
    let done = AtomicU64::new(0);
    let fetch = |what: String, descriptor: Descriptor| {
        let (registry, done) = (&registry, &done);
        async move {
            let report =
                |bytes: u64| (watch.progress)(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
            Download { registry, cache, what, descriptor: &descriptor, report: &report }.run().await
        }
    };
    let no_report = |_: u64| {};
    let what = "the image's config".to_owned();
    let config = &manifest.config;
    let document = Download { registry: &registry, cache, what, descriptor: config, report: &no_report };
    let document = document.read().await?;
    let taken = config::read(&document, manifest.layers.len(), platform)?;

    let fetches = manifest.layers.iter().enumerate().map(|(index, layer)| {
        let what = format!("layer {} of {} ({})", index + 1, manifest.layers.len(), layer.digest);
        fetch(what, layer.clone())
    });
    let files: Vec<_> = stream::iter(fetches).buffered(PARALLEL).try_collect().await?;
    let layers = files.into_iter().zip(&manifest.layers).zip(taken.diff_ids);
    let layers = layers.map(|((file, layer), diff_id)| Layer {
        file,
        offset: 0,
        length: layer.size,
        digest: Some(layer.digest),
        diff_id,
    });
    Ok(Image {
        digest,
        own_name: None,
        platform: taken.platform,
        config: taken.config,
        layers: layers.collect(),
    })
}

/// One repository of a registry.
struct Registry<'a> {
    client: Client,
    reference: &'a RegistryReference,
}

impl Registry<'_> {
    /// The repository with a digest or tag, in the client's words.
    fn at(&self, digest: Option<Digest>) -> oci_client::Reference {
        let RegistryReference { registry, repository, tag, .. } = self.reference;
        let (registry, repository) = (registry.clone(), repository.clone());
        match (digest, tag) {
            (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
            (None, tag) => {
                let tag = tag.clone().unwrap_or_else(|| "latest".to_owned());
                oci_client::Reference::with_tag(registry, repository, tag)
            }
        }
    }

    /// What the client's error means to a user.
    fn explain(&self, what: &str, source: OciDistributionError) -> PullError {
        let (registry, what) = (self.reference.registry.clone(), what.to_owned());
        let not_found = match &source {
            OciDistributionError::ImageManifestNotFoundError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code == 404,
            OciDistributionError::RegistryError { envelope, .. } => {
                use oci_client::errors::OciErrorCode::{BlobUnknown, ManifestUnknown, NameUnknown, NotFound};
                let unknown = [BlobUnknown, ManifestUnknown, NameUnknown, NotFound];
                envelope.errors.iter().any(|error| unknown.contains(&error.code))
            }
            _ => false,
        };
        let unauthorized = match &source {
            OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::UnauthorizedError { .. } => true,
            OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
            OciDistributionError::RegistryError { envelope, .. } => {
                use oci_client::errors::OciErrorCode::{Denied, Unauthorized};
                envelope.errors.iter().any(|error| [Denied, Unauthorized].contains(&error.code))
            }
            _ => false,
        };
        let source = Box::new(source);
        match (not_found, unauthorized) {
            (_, true) => PullError::Unauthorized { registry, source },
            (true, _) => PullError::NotFound { registry, what, source },
            _ => PullError::Registry { registry, what, source },
        }
    }
}

/// The client does not tell whose connection it was: the registry's, or one that it was sent on to.
fn is_no_connection(error: &OciDistributionError) -> bool {
    matches!(error, OciDistributionError::RequestError(error) if error.is_connect())
}

/// A proxy that is never there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Speaks HTTPS, and to this machine's own registries plain HTTP where nothing says how to trust them.
fn client(registry: &str) -> Result<Client, PullError> {
    use_ring();
    let failed = |source| PullError::Certificates { registry: registry.to_owned(), source };
    let certificates = certificates::of(registry).map_err(failed)?;
    let mut config = ClientConfig {
        protocol: ClientProtocol::Https,
        connect_timeout: Some(CONNECT_WITHIN),
        read_timeout: Some(SILENCE),
        user_agent: concat!("banger/", env!("CARGO_PKG_VERSION")),
        // The library follows a redirection to plain HTTP: there it ends at a proxy that is not there.
        http_proxy: Some(NOWHERE.to_owned()),
        ..ClientConfig::default()
    };
    match (is_loopback(registry), &certificates) {
        (true, None) => {
            config.protocol = ClientProtocol::Http;
            // Another proxy than that would reach another machine's loopback.
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
        }
        (true, Some(_)) => {}
        (false, _) => {
            // Having a proxy of its own, the client asks the environment for none.
            config.https_proxy = first_set(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
            config.no_proxy = config.https_proxy.as_ref().and_then(|_| first_set(&["no_proxy", "NO_PROXY"]));
        }
    }
    config.extra_root_certificates = certificates.unwrap_or_default();
    Client::try_from(config).map_err(|error| PullError::Client(error.into()))
}

/// What TLS computes with; one that was installed before does as well.
pub(crate) fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn first_set(variables: &[&str]) -> Option<String> {
    variables.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
}

/// Whether a registry is on this machine by its very name, without asking anybody what the name means.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for ours in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(ours), "{ours}");
        }
        for others in
            ["docker.io", "localhost.example:5000", "10.0.0.1:5000", "127.0.0.1.example", "[::2]:1", ""]
        {
            assert!(!is_loopback(others), "{others}");
        }
    }
}
