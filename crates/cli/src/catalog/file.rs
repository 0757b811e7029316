//! A catalog's text and what it offers.

use super::{Catalog, ImageEntry, KernelEntry, Recipe};
use banger_config::name_the_nearest;
use banger_oci::bundle::{Bundle, Location};
use banger_oci::{Reference, RegistryReference};
use banger_protocol::digest::Digest;
use banger_protocol::names::{ImageName, KernelName};
use serde::Deserialize;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// What is wrong with a catalog, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub line: usize,
    pub message: String,
}

/// What a catalog may say, as it is said.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    image: Vec<Spanned<WrittenImage>>,
    kernel: Vec<Spanned<WrittenKernel>>,
}

// Twice the same keys but for one: serde cannot both share them and refuse others.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    name: Spanned<ImageName>,
    description: String,
    kernel: KernelName,
    source: Spanned<Source>,
    suite: Option<Spanned<String>>,
    packages: Option<Spanned<Vec<String>>>,
    reference: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    size: Option<Spanned<u64>>,
    public_key: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKernel {
    name: Spanned<KernelName>,
    description: String,
    source: Spanned<Source>,
    suite: Option<Spanned<String>>,
    packages: Option<Spanned<Vec<String>>>,
    url: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    size: Option<Spanned<u64>>,
    public_key: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Debian,
    Bundle,
    Oci,
}

/// The keys that one source or another has.
struct Keys {
    suite: Option<Spanned<String>>,
    packages: Option<Spanned<Vec<String>>>,
    reference: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    size: Option<Spanned<u64>>,
    public_key: Option<Spanned<String>>,
}

/// A mistake and the text that it is in.
type Mistake = (Range<usize>, String);

/// Adds what a catalog offers. Paths in it are relative to the folder it lies in.
pub(super) fn read(text: &str, path: &Path, catalog: &mut Catalog) -> Result<(), Wrong> {
    let line = |span: &Range<usize>| {
        text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count() + 1
    };
    let wrong = |(span, message): Mistake| Wrong { line: line(&span), message };
    let written: Written = toml::from_str(text)
        .map_err(|error| wrong((error.span().unwrap_or_default(), name_the_nearest(error.message()))))?;
    let base = path.parent().unwrap_or(Path::new("/"));
    for entry in written.image {
        let entry = entry.into_inner();
        let (span, name) = (entry.name.span(), entry.name.into_inner());
        if catalog.image(name.as_str()).is_some() {
            return Err(wrong((span, format!("image `{name}` is already in the catalog"))));
        }
        let keys = Keys {
            suite: entry.suite,
            packages: entry.packages,
            reference: entry.reference,
            url: entry.url,
            sha256: entry.sha256,
            size: entry.size,
            public_key: entry.public_key,
        };
        let recipe = recipe(&entry.source, keys, base).map_err(wrong)?;
        let (description, kernel) = (entry.description, entry.kernel);
        catalog.images.push(ImageEntry { name, description, kernel, recipe });
    }
    for entry in written.kernel {
        let entry = entry.into_inner();
        let (span, name) = (entry.name.span(), entry.name.into_inner());
        if catalog.kernel(name.as_str()).is_some() {
            return Err(wrong((span, format!("kernel `{name}` is already in the catalog"))));
        }
        if *entry.source.get_ref() == Source::Oci {
            return Err(wrong((
                entry.source.span(),
                "the source of a kernel must be `debian` or `bundle`".to_owned(),
            )));
        }
        let keys = Keys {
            suite: entry.suite,
            packages: entry.packages,
            reference: None,
            url: entry.url,
            sha256: entry.sha256,
            size: entry.size,
            public_key: entry.public_key,
        };
        let recipe = recipe(&entry.source, keys, base).map_err(wrong)?;
        catalog.kernels.push(KernelEntry { name, description: entry.description, recipe });
    }
    Ok(())
}

fn recipe(source: &Spanned<Source>, keys: Keys, base: &Path) -> Result<Recipe, Mistake> {
    let Keys { suite, packages, reference, url, sha256, size, public_key } = keys;
    let of = Of { source };
    match source.get_ref() {
        Source::Debian => {
            of.has_no("reference", reference)?;
            of.has_no_bundle(url, sha256, size, public_key)?;
            let (_, suite) = of.needs("suite", suite)?;
            let (_, packages) = of.needs("packages", packages)?;
            Ok(Recipe::Debian { suite, packages })
        }
        Source::Bundle => {
            of.has_no("suite", suite)?;
            of.has_no("packages", packages)?;
            of.has_no("reference", reference)?;
            let (span, url) = of.needs("url", url)?;
            let location = Location::parse(&url, base).ok_or_else(|| {
                (span, format!("`{url}` is neither a path nor a URL that starts with https://"))
            })?;
            let (span, sha256) = of.needs("sha256", sha256)?;
            let sha256 = Digest::from_hex(&sha256)
                .ok_or_else(|| (span, format!("`{sha256}` is not 64 hexadecimal digits")))?;
            let (_, size) = of.needs("size", size)?;
            let (_, public_key) = of.needs("public_key", public_key)?;
            Ok(Recipe::Bundle(Bundle { location, sha256, size, public_key }))
        }
        Source::Oci => {
            of.has_no("suite", suite)?;
            of.has_no("packages", packages)?;
            of.has_no_bundle(url, sha256, size, public_key)?;
            let (span, reference) = of.needs("reference", reference)?;
            pinned(&reference).map(Recipe::Oci).map_err(|message| (span, message))
        }
    }
}

/// A reference that means the same tomorrow.
fn pinned(text: &str) -> Result<RegistryReference, String> {
    match Reference::parse(text, |_| false) {
        Ok(Reference::Registry(reference)) if reference.digest.is_some() => Ok(reference),
        Ok(_) => Err(format!("`{text}` is not pinned: add the `@sha256:…` of its manifest")),
        Err(error) => Err(error.to_string()),
    }
}

/// An entry of some source, for what is said about its keys.
struct Of<'a> {
    source: &'a Spanned<Source>,
}

impl Of<'_> {
    fn word(&self) -> &'static str {
        match self.source.get_ref() {
            Source::Debian => "debian",
            Source::Bundle => "bundle",
            Source::Oci => "oci",
        }
    }

    fn needs<T>(&self, key: &str, value: Option<Spanned<T>>) -> Result<(Range<usize>, T), Mistake> {
        let missing = || (self.source.span(), format!("an entry of source `{}` needs `{key}`", self.word()));
        let value = value.ok_or_else(missing)?;
        Ok((value.span(), value.into_inner()))
    }

    fn has_no<T>(&self, key: &str, value: Option<Spanned<T>>) -> Result<(), Mistake> {
        match value {
            Some(value) => Err((value.span(), format!("`{key}` is not used by source `{}`", self.word()))),
            None => Ok(()),
        }
    }

    fn has_no_bundle(
        &self,
        url: Option<Spanned<String>>,
        sha256: Option<Spanned<String>>,
        size: Option<Spanned<u64>>,
        public_key: Option<Spanned<String>>,
    ) -> Result<(), Mistake> {
        self.has_no("url", url)?;
        self.has_no("sha256", sha256)?;
        self.has_no("size", size)?;
        self.has_no("public_key", public_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUNDLE: &str = "[[image]]\nname = \"x\"\ndescription = \"d\"\nkernel = \"k\"\nsource = \"bundle\"\nurl = \"x.tar.zst\"\nsize = 3\npublic_key = \"RW\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";

    fn parse(text: &str) -> Result<Catalog, Wrong> {
        let mut catalog = Catalog::default();
        read(text, Path::new("/etc/mine.toml"), &mut catalog).map(|()| catalog)
    }

    #[test]
    fn a_bundle_lies_beside_its_catalog() {
        let catalog = parse(BUNDLE).unwrap();
        let Recipe::Bundle(bundle) = &catalog.images[0].recipe else { panic!("{catalog:?}") };
        assert_eq!(bundle.location, Location::File("/etc/x.tar.zst".into()));
        assert_eq!((bundle.size, catalog.images[0].recipe.size()), (3, Some(3)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_nearest_key() {
        let zeros = "0".repeat(64);
        for (text, line, message) in [
            (BUNDLE.replace("sha256", "sha265"), 9, "unknown key `sha265`; did you mean `sha256`?"),
            (BUNDLE.replace("[[image]]", "[[imag]]"), 1, "did you mean `image`?"),
            (BUNDLE.replace("\"bundle\"", "\"bundel\""), 5, "did you mean `bundle`?"),
            (BUNDLE.replace("size = 3\n", ""), 5, "an entry of source `bundle` needs `size`"),
            (BUNDLE.replace("size = 3", "suite = \"x\"\nsize = 3"), 7, "`suite` is not used by source `bundle`"),
            (BUNDLE.replace(&zeros, "00"), 9, "`00` is not 64 hexadecimal digits"),
            (BUNDLE.replace("x.tar.zst", "http://example.test/x"), 6, "starts with https://"),
            (BUNDLE.replace("\"x\"", "\"X\""), 2, "`X` is not a valid image name"),
            (format!("{BUNDLE}{BUNDLE}"), 11, "image `x` is already in the catalog"),
            (
                "[[image]]\nname = \"x\"\ndescription = \"d\"\nkernel = \"k\"\nsource = \"oci\"\nreference = \"alpine:3\"".to_owned(),
                6,
                "`alpine:3` is not pinned",
            ),
            (
                "[[kernel]]\nname = \"x\"\ndescription = \"d\"\nsource = \"oci\"".to_owned(),
                4,
                "the source of a kernel must be `debian` or `bundle`",
            ),
            ("[[image]\n".to_owned(), 1, ""),
        ] {
            let wrong = parse(&text).unwrap_err();
            assert_eq!(wrong.line, line, "{text}: {}", wrong.message);
            assert!(wrong.message.contains(message), "{}", wrong.message);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC*", at in 0_usize..400, junk in "\\PC{0,8}") {
            let _ = parse(&text);
            let at = at.min(BUNDLE.len());
            let _ = parse(&format!("{}{junk}{}", &BUNDLE[..at], &BUNDLE[at..]));
        }
    }

    mod fuzz {
        use super::*;

        #[test]
        fn any_text_is_a_catalog_or_an_error() {
            banger_fuzz::feed(&[include_bytes!("../../catalog.toml"), BUNDLE.as_bytes()], |bytes| {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    drop(parse(text));
                }
            });
        }
    }
}
