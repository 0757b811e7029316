use crate::build::{Builder, Published, ensure_kernel, once};
use crate::catalog::{Catalog, ImageEntry};
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome, USAGE};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_config::{Config, probably_meant};
use banger_oci::{Platform, Reference};
use banger_protocol::daemon_api::image::{ImageView, Show};
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ConnectionError, ErrorKind};
use std::path::Path;

/// Pull or build an image
///
///     banger image pull debian-bookworm           from the catalog, built from signed Debian packages
///     banger image pull alpine:3.20               from a registry: Docker Hub, or HOST/NAME:TAG
///     banger image pull oci:DIR[:TAG]             from an OCI image layout
///     banger image pull oci-archive:FILE[:TAG]    from a tar archive of an OCI image layout
///     banger image pull docker-archive:FILE       from a file written by docker save
///
/// Registry credentials are those saved by `docker login`. Layers are cached:
/// images share them, and an interrupted download resumes. `banger image cache
/// prune` deletes them.
///
/// Then `banger vm run --image NAME`. `banger vm run --image` also accepts these
/// references, and pulls an image that is missing.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Catalog name or image reference
    #[arg(value_name = "REF")]
    reference: String,
    /// Name for the image [default: derived from REF, such as debian-bookworm for debian:bookworm]
    #[arg(long)]
    name: Option<ImageName>,
    /// Kernel for VMs created from this image [default: the one the catalog names, or `default_kernel`]
    #[arg(long)]
    kernel: Option<KernelName>,
    /// Size of the root file system, such as 8G; only written blocks use disk space [default: 40G]
    #[arg(long)]
    size: Option<ByteSize>,
    /// Platform of a multi-platform image, such as linux/amd64 [default: the platform of this host]
    #[arg(long)]
    platform: Option<Platform>,
}

/// Where the image is to come from.
enum Wanted<'a> {
    Entry(&'a ImageEntry),
    Published(Reference),
}

/// What it is made of, found.
enum Origin<'a> {
    Catalog(&'a ImageEntry),
    Published(Box<Published>),
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let paths = daemon::paths()?;
        let catalog = Catalog::load(&paths)?;
        let wanted = self.wanted(&catalog)?;
        let mut daemon = Daemon::connect()?;
        let shown = match &wanted {
            Wanted::Entry(entry) => entry.name.to_string(),
            Wanted::Published(reference) => reference.default_name(None),
        };
        if let Some(name) = self.name.clone().or_else(|| shown.parse().ok()) {
            refuse_existing(&mut daemon, &name)?;
        }
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(self.name.as_ref().map_or(&shown, ImageName::as_str));
        let config = Config::read(&paths)?;
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        let origin = match wanted {
            Wanted::Entry(entry) => Origin::Catalog(entry),
            Wanted::Published(reference) => {
                let platform = self.platform.clone().unwrap_or_else(Platform::of_guests);
                Origin::Published(Box::new(Published::find(&builder, &reference, &platform)?))
            }
        };
        let image = self.make(&builder, &mut daemon, &origin)?;
        drop(progress);
        if let Origin::Published(published) = &origin
            && let Some(platform) = published.foreign_platform()
        {
            printer::warning(format_args!("this image is for {platform} and does not run on this host"));
        }
        printer::line(image.name)?;
        Ok(0)
    }

    fn make(
        &self,
        builder: &Builder<'_>,
        daemon: &mut Daemon,
        origin: &Origin<'_>,
    ) -> Result<ImageView, Failure> {
        let (own_name, usual_kernel) = match origin {
            Origin::Catalog(entry) => (&entry.name, &entry.kernel),
            Origin::Published(published) => (&published.name, &builder.config.default_kernel.value),
        };
        let name = self.name.as_ref().unwrap_or(own_name);
        let kernel = self.kernel.as_ref().unwrap_or(usual_kernel);
        ensure_kernel(builder, daemon, kernel)?;
        let is_it = |image: &ImageView| match origin {
            Origin::Catalog(entry) => image.source == entry.recipe.source(),
            Origin::Published(published) => published.is(image),
        };
        once(builder, daemon, name, is_it, |daemon| match origin {
            Origin::Catalog(entry) => builder.image(daemon, entry, name, kernel, self.size),
            Origin::Published(published) => published.make(builder, daemon, name, kernel, self.size),
        })
    }

    fn wanted<'c>(&self, catalog: &'c Catalog) -> Result<Wanted<'c>, Failure> {
        if let Some(entry) = catalog.image(&self.reference) {
            return Ok(Wanted::Entry(entry));
        }
        let reference = Reference::parse(&self.reference, Path::exists)
            .map_err(|error| Failure { code: USAGE, ..Failure::of(&error) })?;
        if reference.is_bare_word() {
            let word = &self.reference;
            let entries = || catalog.images.iter();
            let hint = match probably_meant(word, entries().map(|entry| entry.name.as_str())) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    let names: Vec<_> =
                        entries().map(|entry| format!("{} ({})", entry.name, entry.description)).collect();
                    format!("the catalog has {}; for Docker Hub, write `{word}:latest`", names.join(", "))
                }
            };
            return Err(Failure::message(format!("`{word}` is not in the catalog")).with_hint(hint));
        }
        Ok(Wanted::Published(reference))
    }
}

/// Before minutes are spent on it; the daemon refuses again when it would publish it.
fn refuse_existing(daemon: &mut Daemon, name: &ImageName) -> Result<(), Failure> {
    match daemon.call(&Show { image: name.clone() }) {
        Ok(_) => Err(Failure::message(format!("image `{name}` already exists")).with_hint(format!(
            "delete it with `banger image delete {name}`, or choose another name with `--name`"
        ))),
        Err(ConnectionError::Refused(refusal)) if refusal.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
