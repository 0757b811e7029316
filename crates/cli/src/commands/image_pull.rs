use crate::build::{Builder, Published, ensure_kernel, once};
use crate::catalog::{Catalog, ImageEntry};
use crate::config::Config;
use crate::daemon::{self, Daemon};
use crate::failure::{Failure, Outcome, USAGE};
use crate::printer::{self, Progress};
use crate::signals::Signals;
use banger_oci::{Platform, Reference};
use banger_protocol::daemon_api::image::{ImageView, Show};
use banger_protocol::names::{ImageName, KernelName};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ConnectionError, ErrorKind};
use std::path::Path;

/// Make an image.
///
///     banger image pull debian-bookworm           built from Debian's signed packages, without root
///     banger image pull oci:DIR[:TAG]             an image layout in a folder
///     banger image pull oci-archive:FILE[:TAG]    the same in a tar archive
///     banger image pull docker-archive:FILE       what `docker save` writes
///
/// Then `banger vm run --image NAME`, which also takes these references and makes
/// what is not here. Without `--name` the image is called after the reference:
/// `debian-bookworm` for `docker.io/library/debian:bookworm`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name of the catalogue, or where the image is.
    #[arg(value_name = "REF")]
    reference: String,
    /// What to call it here.
    #[arg(long)]
    name: Option<ImageName>,
    /// The kernel its VMs start with.
    #[arg(long)]
    kernel: Option<KernelName>,
    /// How large the root file system is for a guest, as 8G; it takes what it holds.
    #[arg(long)]
    size: Option<ByteSize>,
    /// Which of an image's variants, as linux/amd64; this machine's if not given.
    #[arg(long)]
    platform: Option<Platform>,
}

/// Where the image comes from.
enum Origin<'a> {
    Catalogue(&'a ImageEntry),
    Published(Box<Published>),
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let catalog = Catalog::load();
        let origin = self.origin(&catalog)?;
        let (own_name, usual_kernel) = match &origin {
            Origin::Catalogue(entry) => (&entry.name, entry.kernel.clone()),
            Origin::Published(published) => (&published.name, catalog.usual_kernel()),
        };
        let name = self.name.as_ref().unwrap_or(own_name);
        let kernel = self.kernel.as_ref().unwrap_or(&usual_kernel);
        let paths = daemon::paths()?;
        let mut daemon = Daemon::connect()?;
        refuse_existing(&mut daemon, name)?;
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let progress = Progress::live_or_plain(name.as_str());
        let config = Config::read(&paths.config);
        let builder = Builder { paths: &paths, config: &config, signals: &signals, progress: &progress };
        ensure_kernel(&builder, &mut daemon, kernel)?;
        let is_it = |image: &ImageView| match &origin {
            Origin::Catalogue(entry) => image.source == entry.recipe.source(),
            Origin::Published(published) => published.is(image),
        };
        let image = once(&builder, &mut daemon, name, is_it, |daemon| match &origin {
            Origin::Catalogue(entry) => builder.image(daemon, entry, name, kernel, self.size),
            Origin::Published(published) => published.make(&builder, daemon, name, kernel, self.size),
        })?;
        drop(progress);
        if let Origin::Published(published) = &origin
            && let Some(platform) = published.foreign_platform()
        {
            printer::warning(format_args!("its programs are for {platform} and do not run on this machine"));
        }
        printer::line(image.name)?;
        Ok(0)
    }

    fn origin<'c>(&self, catalog: &'c Catalog) -> Result<Origin<'c>, Failure> {
        if let Some(entry) = catalog.image(&self.reference) {
            return Ok(Origin::Catalogue(entry));
        }
        let reference = Reference::parse(&self.reference, Path::exists)
            .map_err(|error| Failure { code: USAGE, ..Failure::of(&error) })?;
        if reference.is_bare_word() {
            let entries = catalog.images.iter();
            let names: Vec<_> =
                entries.map(|entry| format!("{} ({})", entry.name, entry.description)).collect();
            let word = &self.reference;
            return Err(Failure::message(format!("`{word}` is not in the catalogue"))
                .with_hint(format!("it has {}", names.join(", ")))
                .with_hint(format!("Docker Hub's image of that name is `{word}:latest`")));
        }
        let platform = self.platform.clone().unwrap_or_else(Platform::of_guests);
        Published::find(&reference, &platform).map(|found| Origin::Published(Box::new(found)))
    }
}

/// Before minutes are spent on it; the daemon refuses again when it would publish it.
fn refuse_existing(daemon: &mut Daemon, name: &ImageName) -> Result<(), Failure> {
    match daemon.call(&Show { image: name.clone() }) {
        Ok(_) => Err(Failure::message(format!("there is an image `{name}` already"))
            .with_hint(format!("`banger image delete {name}` removes it; `--name` gives another name"))),
        Err(ConnectionError::Refused(refusal)) if refusal.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
