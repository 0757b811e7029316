//! How people say where an image is.
//!
//! ```text
//! oci:DIR[:TAG]   oci-archive:FILE[:TAG]   docker-archive:FILE[:NAME:TAG]       on disk
//! alpine:3.20   ghcr.io/x/y@sha256:…   localhost:5000/z                         in a registry
//! ```
//!
//! A registry is recognised as Docker does it: the first component is a host if it has a dot or a port or is
//! `localhost`; otherwise the image is Docker Hub's. A word alone, `alpine`, is a reference too, but whoever has
//! other meanings for words decides whether it is meant as one ([`Reference::is_bare_word`]).

use banger_protocol::digest::Digest;
use std::fmt;
use std::path::{Path, PathBuf};

const HUB: &str = "docker.io";
const USUAL_TAG: &str = "latest";
/// Longest name of a repository that registries take.
const MAX_REPOSITORY: usize = 255;
/// Longest name of an image here.
const MAX_NAME: usize = 63;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Disk(DiskReference),
    Registry(RegistryReference),
}

/// In the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskReference {
    pub kind: DiskKind,
    pub path: PathBuf,
    /// Which of several.
    pub tag: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A folder in the form of the image layout specification.
    Layout,
    /// The same in one tar archive.
    LayoutArchive,
    /// What `docker save` and `podman save` write.
    DockerArchive,
}

/// In a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// Host, perhaps with a port.
    pub registry: String,
    pub repository: String,
    /// None where only a digest was given.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
    bare_word: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseReferenceError {
    #[error("`{0}` does not say where the image is: `{0}PATH`")]
    NoPath(String),
    #[error("`{0}` is not an image reference: {1}")]
    Bad(String, &'static str),
}

impl DiskKind {
    const ALL: [Self; 3] = [Self::Layout, Self::LayoutArchive, Self::DockerArchive];

    fn prefix(self) -> &'static str {
        match self {
            Self::Layout => "oci:",
            Self::LayoutArchive => "oci-archive:",
            Self::DockerArchive => "docker-archive:",
        }
    }
}

impl Reference {
    /// Reads what somebody typed. `exists` says what is there: a path may have colons in it, too.
    ///
    /// # Errors
    /// When it can mean no image.
    pub fn parse(text: &str, exists: impl Fn(&Path) -> bool) -> Result<Self, ParseReferenceError> {
        for kind in DiskKind::ALL {
            if let Some(rest) = text.strip_prefix(kind.prefix()) {
                return on_disk(kind, rest, exists).map(Self::Disk);
            }
        }
        in_registry(text).map(Self::Registry)
    }

    /// Whether it is a word that could as well be the name of something else.
    #[must_use]
    pub fn is_bare_word(&self) -> bool {
        matches!(self, Self::Registry(RegistryReference { bare_word: true, .. }))
    }

    /// What to call the image here: the last word of where it is, and its tag. `own_name` is what the image calls
    /// itself, where the place says nothing.
    #[must_use]
    pub fn default_name(&self, own_name: Option<&str>) -> String {
        let name = match self {
            Self::Disk(disk) => {
                let file = disk.path.file_name().unwrap_or_default().to_string_lossy();
                let file = match disk.kind {
                    DiskKind::Layout => &file,
                    DiskKind::LayoutArchive | DiskKind::DockerArchive => without_extension(&file),
                };
                match (&disk.tag, own_name) {
                    (Some(tag), _) if disk.kind == DiskKind::DockerArchive => last_of(tag),
                    (Some(tag), _) => format!("{file}-{}", last_of(tag)),
                    (None, Some(own)) => last_of(own),
                    (None, None) => file.to_owned(),
                }
            }
            Self::Registry(RegistryReference { repository, tag, digest, .. }) => {
                let last = repository.rsplit('/').next().unwrap_or(repository);
                match (tag, digest) {
                    (Some(tag), _) if tag == USUAL_TAG => last.to_owned(),
                    (Some(tag), _) => format!("{last}-{tag}"),
                    (None, Some(digest)) => format!("{last}-{}", &digest.hex()[..12]),
                    (None, None) => last.to_owned(),
                }
            }
        };
        sane(&name)
    }
}

/// The longest beginning that is a path, and the tag behind it.
fn on_disk(
    kind: DiskKind,
    text: &str,
    exists: impl Fn(&Path) -> bool,
) -> Result<DiskReference, ParseReferenceError> {
    let whole = DiskReference { kind, path: text.into(), tag: None };
    if text.is_empty() {
        return Err(ParseReferenceError::NoPath(kind.prefix().to_owned()));
    }
    if exists(&whole.path) {
        return Ok(whole);
    }
    let colons = text.match_indices(':').map(|(at, _)| at).collect::<Vec<_>>();
    let split = |at: usize| DiskReference {
        kind,
        path: text[..at].into(),
        tag: Some(text[at + 1..].to_owned()).filter(|tag| !tag.is_empty()),
    };
    let found = colons.iter().rev().map(|&at| split(at)).find(|split| exists(&split.path));
    // Where nothing is there the error is about what was most probably meant.
    Ok(found.or_else(|| colons.first().map(|&at| split(at))).unwrap_or(whole))
}

fn in_registry(text: &str) -> Result<RegistryReference, ParseReferenceError> {
    let bad = |why| ParseReferenceError::Bad(text.escape_debug().to_string(), why);
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse().map_err(|_| bad("its digest is not `sha256:` and 64 hexadecimal digits"))?),
        ),
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
        _ => (name, None),
    };
    if let Some(tag) = &tag
        && !is_tag(tag)
    {
        return Err(bad("a tag is 1 to 128 of letters, digits, `_`, `.` and `-`"));
    }
    let bare_word = tag.is_none() && digest.is_none() && !name.contains('/');
    let (registry, repository) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path.to_owned()),
        Some(_) => (HUB, name.to_owned()),
        None => (HUB, format!("library/{name}")),
    };
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    let repository = match repository.contains('/') || registry != HUB {
        true => repository,
        false => format!("library/{repository}"),
    };
    if !is_repository(&repository) {
        return Err(bad("a repository is words of a-z, 0-9, `.`, `_` and `-` with `/` between them"));
    }
    if !is_authority(registry) {
        return Err(bad("its host cannot be one"));
    }
    let tag = tag.or_else(|| digest.is_none().then(|| USUAL_TAG.to_owned()));
    Ok(RegistryReference { registry: registry.to_owned(), repository, tag, digest, bare_word })
}

fn is_host(word: &str) -> bool {
    word == "localhost" || word.contains(['.', ':'])
}

fn is_authority(host: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    host.bytes().all(legal) && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
}

fn is_tag(tag: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=128).contains(&tag.len()) && tag.bytes().all(legal) && !tag.starts_with(['.', '-'])
}

fn is_repository(repository: &str) -> bool {
    let word = |word: &str| {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        word.bytes().all(legal) && edge(word.bytes().next()) && edge(word.bytes().last())
    };
    repository.len() <= MAX_REPOSITORY && repository.split('/').all(word)
}

/// `demo.tar.gz` is `demo`.
fn without_extension(file: &str) -> &str {
    [".tar.gz", ".tar.zst", ".tar", ".tgz"]
        .iter()
        .find_map(|extension| file.strip_suffix(extension))
        .filter(|stem| !stem.is_empty())
        .unwrap_or(file)
}

/// `docker.io/library/debian:bookworm` is `debian-bookworm`.
fn last_of(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.strip_suffix(":latest").unwrap_or(last).replace(':', "-")
}

/// Made into a name that an image can have.
fn sane(name: &str) -> String {
    let legal = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) => c,
        _ => '-',
    };
    let name: String = name.chars().map(legal).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    let name: String = name.chars().take(MAX_NAME).collect();
    let name = name.trim_end_matches(['.', '_', '-']);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

impl fmt::Display for Reference {
    /// In full: what was left out is filled in, so that the same image has the same words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(DiskReference { kind, path, tag }) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                write!(f, "{}{}", kind.prefix(), path.display())?;
                tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
            }
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest, .. } = self;
        write!(f, "{registry}/{repository}")?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reference, ParseReferenceError> {
        Reference::parse(text, |path| path == Path::new("/a:b") || path == Path::new("/d"))
    }

    #[test]
    fn a_reference_is_filled_in_as_docker_does_it() {
        let hex = "a".repeat(64);
        for (typed, full) in [
            ("alpine", "docker.io/library/alpine:latest".to_owned()),
            ("alpine:3.20", "docker.io/library/alpine:3.20".to_owned()),
            ("user/app", "docker.io/user/app:latest".to_owned()),
            ("docker.io/alpine", "docker.io/library/alpine:latest".to_owned()),
            ("index.docker.io/library/alpine:1", "docker.io/library/alpine:1".to_owned()),
            ("localhost:5000/z", "localhost:5000/z:latest".to_owned()),
            ("localhost/z/y:t", "localhost/z/y:t".to_owned()),
            (&format!("ghcr.io/x/y@sha256:{hex}"), format!("ghcr.io/x/y@sha256:{hex}")),
            (&format!("ghcr.io/x/y:1@sha256:{hex}"), format!("ghcr.io/x/y:1@sha256:{hex}")),
        ] {
            assert_eq!(parse(typed).unwrap().to_string(), full);
        }
    }

    #[test]
    fn a_name_is_made_of_the_last_word_and_the_tag() {
        let hex = "0123456789ab".repeat(6);
        for (typed, name) in [
            ("docker.io/library/debian:bookworm", "debian-bookworm"),
            ("alpine", "alpine"),
            ("localhost:5000/z", "z"),
            ("localhost:5000/x/my_app:V1.2-RC", "my_app-v1.2-rc"),
            (&format!("ghcr.io/x/y@sha256:{}", &hex[..64]), "y-0123456789ab"),
            ("oci:/somewhere/Demo", "demo"),
            ("oci:/d:v1", "d-v1"),
            ("oci:/a:b:c", "a-b-c"),
            ("oci-archive:/x/demo.tar.gz", "demo"),
            ("docker-archive:/x/.tar", "tar"),
            (&format!("localhost/{}", "x".repeat(80)), &"x".repeat(63)),
        ] {
            assert_eq!(parse(typed).unwrap().default_name(None), name, "{typed}");
        }
        let archive = parse("docker-archive:/x/saved.tar").unwrap();
        assert_eq!(archive.default_name(Some("docker.io/library/debian:bookworm")), "debian-bookworm");
    }

    #[test]
    fn the_longest_path_that_is_there_comes_before_the_tag() {
        let disk = |text: &str| match parse(text).unwrap() {
            Reference::Disk(disk) => (disk.path.display().to_string(), disk.tag),
            Reference::Registry(other) => panic!("{other}"),
        };
        let of = |path: &str, tag: Option<&str>| (path.to_owned(), tag.map(str::to_owned));
        assert_eq!(disk("oci:/a:b"), of("/a:b", None));
        assert_eq!(disk("oci:/a:b:c"), of("/a:b", Some("c")));
        assert_eq!(disk("docker-archive:/d:docker.io/x:1"), of("/d", Some("docker.io/x:1")));
        assert_eq!(disk("oci:/not/there:c"), of("/not/there", Some("c")));
        assert_eq!(disk("oci:/d:"), of("/d", None));
        assert!(parse("oci:").is_err());
    }

    #[test]
    fn what_no_registry_would_take_is_refused() {
        for wrong in [
            "",
            "A",
            "a b",
            "../x",
            "a//b",
            "-a",
            "a:",
            "a:b:c",
            "x/UP",
            "x@sha256:1",
            "x@md5:1",
            ":t",
            "@",
            "a/",
            "http://x/y",
            "a:.t",
            "a\0",
            "x/..",
            "ho st.x/y",
            "$(x)",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} was accepted");
        }
        assert!(parse(&"x/".repeat(200)).is_err());
    }

    #[test]
    fn only_a_word_alone_is_a_bare_word() {
        assert!(parse("alpine").unwrap().is_bare_word());
        for more in ["alpine:3", "user/alpine", "localhost/alpine", "oci:/d"] {
            assert!(!parse(more).unwrap().is_bare_word(), "{more}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_reference_has_a_name_an_image_can_have(text: String) {
            if let Ok(reference) = parse(&text) {
                let name = reference.default_name(None);
                proptest::prop_assert!(name.parse::<banger_protocol::names::ImageName>().is_ok(), "{name}");
            }
        }
    }
}
