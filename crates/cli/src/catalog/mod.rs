//! The images and kernels banger can make by name: those that are compiled in, and those of the user's own catalogs,
//! `catalog.d/*.toml` beside the settings.
//!
//! A catalog is strict: a key that is not known, or means nothing for the entry's source, is refused with file and
//! line and the nearest that is. No name is in it twice.

mod file;

use banger_oci::RegistryReference;
use banger_oci::bundle::Bundle;
use banger_protocol::local_paths::LocalPaths;
use banger_protocol::names::{ImageName, KernelName};
use std::io;
use std::path::{Path, PathBuf};

const BUILT_IN: &str = include_str!("../../catalog.toml");
/// Beside `config.toml`.
const FOLDER: &str = "catalog.d";

/// Everything on offer.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub images: Vec<ImageEntry>,
    pub kernels: Vec<KernelEntry>,
}

#[derive(Debug)]
pub(crate) struct ImageEntry {
    pub name: ImageName,
    pub description: String,
    /// What its VMs start with unless told otherwise.
    pub kernel: KernelName,
    pub recipe: Recipe,
}

#[derive(Debug)]
pub(crate) struct KernelEntry {
    pub name: KernelName,
    pub description: String,
    pub recipe: Recipe,
}

/// How an entry is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// From Debian's packages.
    Debian { suite: String, packages: Vec<String> },
    /// Finished elsewhere, and signed.
    Bundle(Bundle),
    /// Of a registry, pinned by its digest. Only images.
    Oci(RegistryReference),
}

/// A catalog that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("cannot read the catalog {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("invalid catalog {}:{line}: {message}", path.display())]
    Wrong { path: PathBuf, line: usize, message: String },
}

impl CatalogError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "make it readable, or remove it",
            Self::Wrong { .. } => "fix or remove that entry; see docs/configuration.md for the format",
        }
    }
}

impl Catalog {
    /// With the user's own.
    pub(crate) fn load(paths: &LocalPaths) -> Result<Self, CatalogError> {
        let mut catalog = Self::built_in();
        let folder = paths.config.with_file_name(FOLDER);
        for path in catalogs_in(&folder)? {
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|source| CatalogError::Read { path: path.clone(), source })?;
            catalog.add(&text, &path)?;
        }
        Ok(catalog)
    }

    pub(crate) fn built_in() -> Self {
        let mut catalog = Self::default();
        let added = catalog.add(BUILT_IN, Path::new("catalog.toml"));
        added.expect("the catalog is compiled in and tested");
        catalog
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), CatalogError> {
        file::read(text, path, self).map_err(|wrong| CatalogError::Wrong {
            path: path.to_owned(),
            line: wrong.line,
            message: wrong.message,
        })
    }

    pub(crate) fn image(&self, name: &str) -> Option<&ImageEntry> {
        self.images.iter().find(|entry| entry.name.as_str() == name)
    }

    pub(crate) fn kernel(&self, name: &str) -> Option<&KernelEntry> {
        self.kernels.iter().find(|entry| entry.name.as_str() == name)
    }
}

/// Sorted; there need not be any.
fn catalogs_in(folder: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let failed = |source| CatalogError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    paths.sort();
    Ok(paths)
}

impl Recipe {
    /// Where it comes from, for people.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Debian { suite, packages } => match packages.as_slice() {
                [package] => format!("debian {suite} {package}"),
                _ => format!("debian {suite}"),
            },
            Self::Bundle(bundle) => format!("{}@{}", bundle.location, bundle.sha256),
            Self::Oci(reference) => banger_oci::Reference::Registry(reference.clone()).to_string(),
        }
    }

    /// How much has to be brought here, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Bundle(bundle) => Some(bundle.size),
            Self::Debian { .. } | Self::Oci(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_config::{Config, Machine};
    use banger_protocol::local_paths::{Environment, LocalPaths};
    use std::ffi::OsStr;

    #[test]
    fn the_default_image_and_kernel_and_every_images_kernel_are_on_offer() {
        let catalog = Catalog::built_in();
        let environment = Environment { home: Some(OsStr::new("/home/ada")), ..Environment::default() };
        let paths = LocalPaths::find(&environment).unwrap();
        let built_in = Config::parse("", &paths, &Machine::look()).unwrap();
        assert!(catalog.image(built_in.default_image.value.as_str()).is_some());
        assert!(catalog.kernel(built_in.default_kernel.value.as_str()).is_some());
        for image in &catalog.images {
            assert!(catalog.kernel(image.kernel.as_str()).is_some(), "{} needs {}", image.name, image.kernel);
        }
    }

    #[test]
    fn a_source_says_what_was_taken() {
        let catalog = Catalog::built_in();
        assert_eq!(catalog.image("debian-bookworm").unwrap().recipe.source(), "debian bookworm");
        let kernel = &catalog.kernel("debian-bookworm-cloud").unwrap().recipe;
        assert_eq!(kernel.source(), "debian bookworm linux-image-cloud-amd64");
    }
}
