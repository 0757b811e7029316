//! Images in registries.
//!
//! [`pull`] blocks; inside it is one thread that waits for several downloads at once, and the only asynchronous code
//! outside the daemon. Credentials are those of `docker login`, read in the user's own session.
//!
//! A registry may have mirrors. They are asked before it, in their order, and whatever one of them does not give, or
//! gives wrongly, is asked of the next; each is a host of its own, with credentials of its own or none ([`host`]).
//!
//! No host is believed: manifests and blobs are compared with the digests that led to them, nothing longer than promised
//! is kept or even read, and plain HTTP is spoken to this machine alone or where somebody wrote `http://`, also where a
//! host sends us on.

mod certificates;
mod challenge;
mod credentials;
mod download;
mod host;
mod http;
mod manifests;

pub use host::{NotGiven, Place};
pub use http::Scheme;

pub(crate) use http::{careful, is_loopback, read_all};

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
use host::Host;
use std::cell::Cell;
use std::io;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// Layers that come at once.
const PARALLEL: usize = 4;

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
    #[error("{registry} does not let us in")]
    Unauthorized {
        registry: String,
        #[source]
        source: Box<NotGiven>,
    },
    #[error("{registry} has no {what}")]
    NotFound {
        registry: String,
        what: String,
        #[source]
        source: Box<NotGiven>,
    },
    #[error("{registry} did not give {what}")]
    Registry {
        registry: String,
        what: String,
        #[source]
        source: Box<NotGiven>,
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
    /// Whether another host might do better.
    fn is_the_hosts(&self) -> bool {
        !matches!(self, Self::Client(_) | Self::Cache(_) | Self::Cancelled)
    }

    /// What its user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { registry, .. } => {
                Some(format!("`docker login {registry}` or `skopeo login` leaves credentials that are used"))
            }
            Self::BrokeOff { .. } => Some("what came is kept: the same command continues it".to_owned()),
            Self::Damaged { .. } => Some("the registry's copy is damaged or was modified".to_owned()),
            Self::Manifest(ManifestError::NoPlatform { .. })
            | Self::Config(ConfigError::OtherPlatform { .. }) => Some(
                "use `--platform` for another one; only images for this host's platform can run".to_owned(),
            ),
            _ => None,
        }
    }
}

/// What there is to tell of a pull, or of a bundle, on its way.
#[derive(Debug)]
pub enum Event<'a> {
    /// This host is asked.
    Asking(&'a str),
    /// This one, a mirror, did not serve, and the next one is asked.
    Passed { host: &'a str, error: &'a PullError },
    /// So much of one layer is here; of another host it may be less again.
    Layer { index: usize, count: usize, done: u64, total: u64 },
    /// So much of the bundle is here.
    Bundle { done: u64, total: u64 },
}

/// Who watches a pull.
pub struct Watch<'a> {
    pub tell: &'a dyn Fn(Event<'_>),
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

/// Brings an image here, from the first of `mirrors` or else from its registry. What the cache has is not fetched, and
/// what was cut off stays there to be continued.
///
/// # Errors
/// With the reason, when it cannot be had or is not what its digests say.
pub fn pull(
    reference: &RegistryReference,
    mirrors: &[Place],
    platform: &Platform,
    cache: &BlobCache,
    watch: &Watch<'_>,
) -> Result<Image, PullError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| PullError::Client(error.into()))?;
    let hosts = Hosts::of(reference, mirrors, watch);
    runtime.block_on(async {
        tokio::select! {
            pulled = pull_on(reference, &hosts, platform, cache, watch) => pulled,
            () = watch.cancel.0.cancelled() => Err(PullError::Cancelled),
        }
    })
}

async fn pull_on(
    reference: &RegistryReference,
    hosts: &Hosts<'_>,
    platform: &Platform,
    cache: &BlobCache,
    watch: &Watch<'_>,
) -> Result<Image, PullError> {
    let found = hosts.first(async |host| manifests::find(host, reference, platform).await);
    let (digest, manifest) = found.await?;
    let what = "the image's config";
    let document = Download { cache, what, descriptor: &manifest.config, report: &|_| {} };
    let document = hosts.first(async |host| document.read(host).await).await?;
    let count = manifest.layers.len();
    let taken = config::read(&document, count, platform)?;

    let fetch = |(index, layer): (usize, Descriptor)| async move {
        let total = layer.size;
        let report = |done| (watch.tell)(Event::Layer { index, count, done, total });
        let what = format!("layer {} of {count} ({})", index + 1, layer.digest);
        let download = Download { cache, what: &what, descriptor: &layer, report: &report };
        hosts.first(async |host| download.from(host).await).await
    };
    let layers = manifest.layers.iter().cloned().enumerate();
    let files: Vec<_> = stream::iter(layers.map(fetch)).buffered(PARALLEL).try_collect().await?;
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

/// All that may have a repository, in the order in which they are asked; the registry itself is the last.
struct Hosts<'a> {
    repository: &'a str,
    hosts: Vec<(Place, OnceCell<Host>)>,
    /// Those before it did not serve once, and are not asked again.
    present: Cell<usize>,
    watch: &'a Watch<'a>,
}

impl<'a> Hosts<'a> {
    fn of(reference: &'a RegistryReference, mirrors: &[Place], watch: &'a Watch<'a>) -> Self {
        let host = reference.registry.clone();
        let own = Place { host, scheme: Scheme::Usual, prefix: String::new() };
        let hosts = mirrors.iter().cloned().chain([own]).map(|place| (place, OnceCell::new())).collect();
        Self { repository: &reference.repository, hosts, present: Cell::new(0), watch }
    }

    /// What the first of them gives that gives it.
    async fn first<T>(&self, ask: impl AsyncFn(&Host) -> Result<T, PullError>) -> Result<T, PullError> {
        loop {
            let number = self.present.get();
            let (place, entered) = &self.hosts[number];
            let enter = || {
                (self.watch.tell)(Event::Asking(&place.host));
                Host::enter(place, self.repository)
            };
            let answer = match entered.get_or_try_init(enter).await {
                Ok(host) => ask(host).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if number + 1 < self.hosts.len() && error.is_the_hosts() => {
                    // Of several layers at once, one tells.
                    if self.present.get() == number {
                        self.present.set(number + 1);
                        (self.watch.tell)(Event::Passed { host: &place.host, error: &error });
                    }
                }
                answer => return answer,
            }
        }
    }
}
