//! Images that others published, on disk or in a registry.

use super::Builder;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::printer::Part;
use crate::signals::{asks_to_end, exit_code};
use banger_config::{Mirror, MirrorScheme};
use banger_oci::cache::BlobCache;
use banger_oci::registry::{Cancel, Event, Place, Scheme, Watch};
use banger_oci::{Image, Platform, Reference, RegistryReference, disk, registry};
use banger_protocol::daemon_api::image::{ImageView, Ingest, LayerSource};
use banger_protocol::local_paths::make_private_folder;
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// What somebody means by `--image`: one that has a name here, or one that is somewhere else.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Named(ImageName),
    Published(Reference),
}

impl FromStr for Wish {
    type Err = String;

    /// A word alone is a name: it should not depend on what is here whether a registry is asked.
    fn from_str(text: &str) -> Result<Self, String> {
        match Reference::parse(text, Path::exists) {
            Ok(reference) if !reference.is_bare_word() => Ok(Self::Published(reference)),
            Ok(_) => text.parse().map(Self::Named).map_err(|error| format!("{error}")),
            Err(error) if text.contains([':', '/', '@']) => Err(error.to_string()),
            Err(_) => text.parse().map(Self::Named).map_err(|error| format!("{error}")),
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Published(reference) => reference.fmt(f),
        }
    }
}

/// An image that was found where its reference says, its layers at hand.
#[derive(Debug)]
pub(crate) struct Published {
    image: Image,
    /// The reference in full, with the digest of what was found there.
    pub source: String,
    /// What it is called here unless told otherwise.
    pub name: ImageName,
}

impl Published {
    /// Finds it, and brings it here if it is in a registry.
    pub(crate) fn find(
        builder: &Builder<'_>,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Self, Failure> {
        let image = match reference {
            Reference::Disk(on_disk) => disk::open(on_disk, platform)
                .map_err(|error| error.hint().into_iter().fold(Failure::of(&error), Failure::with_hint)),
            Reference::Registry(published) => download(builder, published, platform),
        };
        let image =
            image.map_err(|failure| failure.reason_for(format!("no image was pulled from {reference}")))?;
        let name = reference.default_name(image.own_name.as_deref());
        let name = name.parse().map_err(|error| Failure::of(&error))?;
        Ok(Self { source: source(reference, &image), name, image })
    }

    /// Whether an image here was made of this one.
    pub(crate) fn is(&self, image: &ImageView) -> bool {
        image.source == self.source
    }

    /// The platform, if guests here do not have it.
    pub(crate) fn foreign_platform(&self) -> Option<&Platform> {
        let (theirs, ours) = (&self.image.platform, Platform::of_guests());
        ((&theirs.os, &theirs.architecture) != (&ours.os, &ours.architecture)).then_some(theirs)
    }

    /// Hands it to the daemon. Its kernel must be there.
    pub(crate) fn make(
        &self,
        builder: &Builder<'_>,
        daemon: &mut Daemon,
        name: &ImageName,
        kernel: &KernelName,
        size: Option<ByteSize>,
    ) -> Result<ImageView, Failure> {
        let layers = &self.image.layers;
        let request = Ingest {
            name: name.clone(),
            source: self.source.clone(),
            kernel: kernel.clone(),
            size,
            layers: layers
                .iter()
                .map(|layer| LayerSource {
                    offset: layer.offset,
                    length: layer.length,
                    digest: layer.digest,
                    diff_id: Some(layer.diff_id),
                })
                .collect(),
            config: self.image.config.clone(),
        };
        let descriptors: Vec<_> = layers.iter().map(|layer| layer.file.as_fd()).collect();
        let made = builder.hand_over(daemon, &request, &descriptors);
        made.map_err(|failure| {
            failure.reason_for(format!("image `{name}` was not built from {}", self.source))
        })
    }
}

/// Fetches what the cache does not have. A signal that asks to end leaves there what came.
fn download(
    builder: &Builder<'_>,
    reference: &RegistryReference,
    platform: &Platform,
) -> Result<Image, Failure> {
    let folder = &builder.paths.cache;
    let uid = rustix::process::geteuid().as_raw();
    make_private_folder(folder, uid).map_err(|error| Failure::of(&error))?;
    let mirrors: Vec<Place> = builder.config.mirrors_of(&reference.registry).map(place).collect();
    let downloading = Cell::new(false);
    let tell = |event: Event<'_>| match event {
        Event::Asking(host) => builder.progress.stage(&format!("asking {host}")),
        Event::Passed { host, error } => {
            builder.progress.warn(&format!("{host} did not serve: {}", told(error)))
        }
        Event::Layer { index, count, done, total } => {
            if !downloading.replace(true) {
                builder.progress.stage("downloading");
            }
            builder.progress.part(Part { kind: "layer", index, count, done, total });
        }
        Event::Bundle { .. } => {}
    };
    interruptible(builder, |cancel| {
        let watch = Watch { tell: &tell, cancel };
        let cache = BlobCache::in_folder(folder);
        let pulled = registry::pull(reference, &mirrors, platform, &cache, &watch);
        pulled.map_err(|error| error.hint().into_iter().fold(Failure::of(&error), Failure::with_hint))
    })
}

fn place(mirror: &Mirror) -> Place {
    let scheme = match mirror.scheme {
        MirrorScheme::Usual => Scheme::Usual,
        MirrorScheme::Http => Scheme::Http,
        MirrorScheme::Https => Scheme::Https,
    };
    Place { host: mirror.host.clone(), scheme, prefix: mirror.prefix.clone() }
}

/// An error and the reasons for it, in one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut words = vec![error.to_string()];
    words.extend(causes.map(ToString::to_string));
    words.dedup();
    words.join(": ")
}

/// Does what a signal that asks to end cancels; the failure is then the signal's, and quiet.
pub(super) fn interruptible<T>(
    builder: &Builder<'_>,
    work: impl FnOnce(&Cancel) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (cancel, caught) = (Cancel::default(), Arc::new(AtomicI32::new(0)));
    let _directed = builder.signals.direct({
        let (cancel, caught) = (cancel.clone(), Arc::clone(&caught));
        move |signal| {
            if asks_to_end(signal) {
                caught.store(signal, Ordering::SeqCst);
                cancel.cancel();
            }
        }
    });
    work(&cancel).map_err(|failure| match caught.load(Ordering::SeqCst) {
        0 => failure,
        signal => Failure::quiet(exit_code(signal)),
    })
}

fn source(reference: &Reference, image: &Image) -> String {
    match reference {
        Reference::Registry(given) if given.digest == Some(image.digest) => reference.to_string(),
        _ => format!("{reference}@{}", image.digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_the_name_of_an_image_here() {
        let wish = |text: &str| text.parse::<Wish>();
        assert!(matches!(wish("alpine"), Ok(Wish::Named(name)) if name.as_str() == "alpine"));
        for published in ["alpine:3.20", "user/app", "localhost:5000/z", "oci:dir", "docker-archive:/x.tar"] {
            assert!(matches!(wish(published), Ok(Wish::Published(_))), "{published}");
        }
        for wrong in ["UPPER", "a:b:c", "oci:", "", "a b"] {
            assert!(wish(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
