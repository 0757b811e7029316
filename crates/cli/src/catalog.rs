//! The images and kernels banger can make by name; compiled in.

use banger_protocol::names::{ImageName, KernelName};
use serde::Deserialize;

/// Everything on offer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalog {
    #[serde(rename = "image")]
    pub images: Vec<ImageEntry>,
    #[serde(rename = "kernel")]
    pub kernels: Vec<KernelEntry>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ImageEntry {
    pub name: ImageName,
    pub description: String,
    /// What its VMs start with unless told otherwise.
    pub kernel: KernelName,
    #[serde(flatten)]
    pub recipe: Recipe,
}

#[derive(Debug, Deserialize)]
pub(crate) struct KernelEntry {
    pub name: KernelName,
    pub description: String,
    #[serde(flatten)]
    pub recipe: Recipe,
}

/// How an entry is made.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(crate) enum Recipe {
    /// From Debian's packages.
    Debian { suite: String, packages: Vec<String> },
}

impl Catalog {
    pub(crate) fn load() -> Self {
        toml::from_str(include_str!("../catalog.toml")).expect("the catalogue is compiled in and tested")
    }

    pub(crate) fn image(&self, name: &str) -> Option<&ImageEntry> {
        self.images.iter().find(|entry| entry.name.as_str() == name)
    }

    pub(crate) fn kernel(&self, name: &str) -> Option<&KernelEntry> {
        self.kernels.iter().find(|entry| entry.name.as_str() == name)
    }
}

impl Recipe {
    /// Where it comes from, for people.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Debian { suite, packages } => match packages.as_slice() {
                [package] => format!("debian {suite} {package}"),
                _ => format!("debian {suite}"),
            },
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
        let catalog = Catalog::load();
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
        let catalog = Catalog::load();
        assert_eq!(catalog.image("debian-bookworm").unwrap().recipe.source(), "debian bookworm");
        let kernel = &catalog.kernel("debian-bookworm-cloud").unwrap().recipe;
        assert_eq!(kernel.source(), "debian bookworm linux-image-cloud-amd64");
    }

    mod fuzz {
        use super::*;

        #[test]
        fn any_text_is_a_catalogue_or_an_error() {
            banger_fuzz::feed(&[include_bytes!("../catalog.toml")], |bytes| {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    drop(toml::from_str::<Catalog>(text));
                }
            });
        }
    }
}
