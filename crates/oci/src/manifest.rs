//! Manifests, and the indexes that lead to them.
//!
//! An index lists manifests, or further indexes, by platform. A manifest lists a config and layers. Docker's older
//! words for both are the same documents under other names.

use crate::Platform;
use crate::metadata::{self, MetadataError};
use banger_protocol::daemon_api::image::MAX_LAYERS as MOST;
use banger_protocol::digest::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most layers an image may have.
pub const MAX_LAYERS: usize = MOST;
/// Most entries of an index.
const MAX_ENTRIES: usize = 1024;
/// How many indexes may lead to each other.
pub(crate) const MAX_DEPTH: usize = 4;

pub(crate) const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
pub(crate) const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// What these are compressed with is told by their first bytes.
const LAYERS: [&str; 7] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.diff.tar+zstd",
];
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// No image comes of what was found.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("it is not an image: its manifest is of type `{0}`")]
    NotAManifest(String),
    #[error("it is not an image: its config is of type `{0}`")]
    NotAnImage(String),
    #[error("layer {index} is of type `{media_type}`, which cannot be unpacked")]
    LayerType { index: usize, media_type: String },
    #[error("it has {0} layers, and more than {MAX_LAYERS} are not taken")]
    TooManyLayers(usize),
    #[error("it has no layers")]
    NoLayers,
    #[error("the index has {0} entries, and more than {MAX_ENTRIES} are not read")]
    TooManyEntries(usize),
    #[error("indexes lead to each other for more than {MAX_DEPTH} steps")]
    TooDeep,
    #[error("it has no image for {wanted}; it has {there}")]
    NoPlatform { wanted: Platform, there: String },
    #[error("it has no image tagged `{wanted}`; it has {there}")]
    NoTag { wanted: String, there: String },
    #[error("it has several images, and the reference has no tag; it has {there}")]
    Ambiguous { there: String },
    #[error("it contains no image")]
    Empty,
}

/// A blob as another document names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What a descriptor or a registry's answer led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    /// Lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    #[serde(default)]
    media_type: String,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Reads an index or a manifest. `media_type` is what led here said it is, if it said anything.
pub(crate) fn read(media_type: &str, bytes: &[u8]) -> Result<Document, ManifestError> {
    let Either { media_type: own, manifests, config, layers } = metadata::parse("the manifest", bytes)?;
    // A document's own word counts, lest the same bytes mean different things to different readers.
    let kind = if own.is_empty() { media_type } else { &own };
    let said = |kinds: &[&str]| kind.is_empty() || kinds.contains(&kind);
    match (manifests, config, layers) {
        (Some(entries), None, None) if said(&INDEXES) => {
            if entries.len() > MAX_ENTRIES {
                return Err(ManifestError::TooManyEntries(entries.len()));
            }
            Ok(Document::Index(entries))
        }
        (None, Some(config), Some(layers)) if said(&MANIFESTS) => {
            check(&config, &layers)?;
            Ok(Document::Manifest(Manifest { config, layers }))
        }
        _ => Err(ManifestError::NotAManifest(kind.to_owned())),
    }
}

fn check(config: &Descriptor, layers: &[Descriptor]) -> Result<(), ManifestError> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(ManifestError::NotAnImage(config.media_type.clone()));
    }
    if layers.is_empty() {
        return Err(ManifestError::NoLayers);
    }
    if layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooManyLayers(layers.len()));
    }
    let unknown = layers.iter().position(|layer| !LAYERS.contains(&layer.media_type.as_str()));
    unknown.map_or(Ok(()), |at| {
        Err(ManifestError::LayerType { index: at + 1, media_type: layers[at].media_type.clone() })
    })
}

/// The entries that carry a tag, or all of them; what is no image, such as an attestation, is left out.
pub(crate) fn tagged(entries: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>, ManifestError> {
    let images: Vec<_> = entries.into_iter().filter(is_image).collect();
    let there = || listed(images.iter().filter_map(|entry| entry.annotations.get(REF_NAME).cloned()));
    let Some(tag) = tag else { return Ok(images) };
    let wanted: Vec<_> = images.iter().filter(|entry| bears(entry, tag)).cloned().collect();
    if wanted.is_empty() {
        return Err(ManifestError::NoTag { wanted: tag.to_owned(), there: there() });
    }
    Ok(wanted)
}

/// By its name alone, or by the whole reference that some tools write there.
fn bears(entry: &Descriptor, tag: &str) -> bool {
    let name = entry.annotations.get(REF_NAME);
    name.is_some_and(|name| name == tag || name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(':')))
}

/// BuildKit lists its attestations as images for `unknown/unknown`.
fn is_image(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

/// The one entry for a platform. Entries that do not tell theirs are for any.
pub(crate) fn choose(entries: Vec<Descriptor>, wanted: &Platform) -> Result<Descriptor, ManifestError> {
    let rank = |entry: &Descriptor| match &entry.platform {
        Some(platform) => platform.suits(wanted),
        None => Some(0),
    };
    let images: Vec<_> = entries.into_iter().filter(is_image).collect();
    let Some(best) = images.iter().filter_map(rank).max() else {
        let there = listed(images.iter().filter_map(|e| Some(e.platform.as_ref()?.to_string())));
        return Err(match images.is_empty() {
            true => ManifestError::Empty,
            false => ManifestError::NoPlatform { wanted: wanted.clone(), there },
        });
    };
    let mut chosen = images.iter().filter(|entry| rank(entry) == Some(best));
    let first = chosen.next().cloned().ok_or(ManifestError::Empty)?;
    // An index may list one image under several names, and without any name the first of equals is as good as the next.
    let named = |entry: &Descriptor| best == 0 || entry.annotations.contains_key(REF_NAME);
    if chosen.any(|entry| entry.digest != first.digest && named(entry)) {
        let there = listed(images.iter().filter_map(|entry| entry.annotations.get(REF_NAME).cloned()));
        return Err(ManifestError::Ambiguous { there });
    }
    Ok(first)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).collect();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "none with a name".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn entry(digit: char, platform: Option<&str>, name: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: MANIFESTS[0].to_owned(),
            digest: digest(digit).parse().unwrap(),
            size: 1,
            platform: platform.map(|text| text.parse().unwrap()),
            annotations: name.map(|name| (REF_NAME.to_owned(), name.to_owned())).into_iter().collect(),
        }
    }

    fn manifest(config: &str, layers: &[&str]) -> Vec<u8> {
        let blob = |kind: &str| json!({"mediaType": kind, "digest": digest('a'), "size": 3});
        let layers: Vec<Value> = layers.iter().map(|kind| blob(kind)).collect();
        let document = json!({"schemaVersion": 2, "config": blob(config), "layers": layers, "x": 1});
        serde_json::to_vec(&document).unwrap()
    }

    #[test]
    fn every_kind_of_layer_that_can_be_unpacked_is_taken() {
        let bytes = manifest(CONFIGS[1], &LAYERS);
        let Document::Manifest(read) = read(MANIFESTS[1], &bytes).unwrap() else {
            panic!("an index was read")
        };
        assert_eq!(read.layers.len(), LAYERS.len());
    }

    #[test]
    fn what_is_no_image_of_ours_is_refused_with_the_reason() {
        let refused = |kind: &str, bytes: &[u8]| read(kind, bytes).unwrap_err().to_string();
        let layer = LAYERS[0];
        let chart = manifest("application/vnd.cncf.helm.config.v1+json", &[layer]);
        assert!(refused("", &chart).contains("helm"));
        assert_eq!(refused("", &manifest(CONFIGS[0], &[])), "it has no layers");
        let many = manifest(CONFIGS[0], &[layer; 128]);
        assert_eq!(refused("", &many), "it has 128 layers, and more than 127 are not taken");
        assert!(read("", &manifest(CONFIGS[0], &[layer; 127])).is_ok());
        let encrypted = manifest(CONFIGS[0], &[layer, "application/vnd.oci.image.layer.v1.tar+encrypted"]);
        assert!(refused("", &encrypted).starts_with("layer 2 is of type"));
        let foreign = manifest(CONFIGS[0], &["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"]);
        assert!(refused("", &foreign).starts_with("layer 1 is of type"));
        assert!(refused("application/x-other", &manifest(CONFIGS[0], &[layer])).contains("x-other"));
        assert!(refused("", b"[]").contains("not understood"));
        assert!(refused("", b"{}").contains("it is not an image"));
    }

    #[test]
    fn a_document_that_is_manifest_and_index_at_once_is_neither() {
        let mut both: Value = serde_json::from_slice(&manifest(CONFIGS[0], &[LAYERS[0]])).unwrap();
        both["manifests"] = json!([]);
        assert!(matches!(read("", both.to_string().as_bytes()), Err(ManifestError::NotAManifest(_))));
        // As CVE-2021-41190 had it: the own word against the one that led here.
        let mut lying: Value = serde_json::from_slice(&manifest(CONFIGS[0], &[LAYERS[0]])).unwrap();
        lying["mediaType"] = json!(INDEXES[0]);
        assert!(read(MANIFESTS[0], lying.to_string().as_bytes()).is_err());
    }

    #[test]
    fn an_index_that_is_endless_is_refused() {
        let blob = json!({"digest": digest('a'), "size": 1});
        let index = json!({"manifests": vec![blob; MAX_ENTRIES + 1]}).to_string();
        assert!(matches!(read("", index.as_bytes()), Err(ManifestError::TooManyEntries(_))));
    }

    #[test]
    fn a_platform_is_chosen_and_attestations_are_no_images() {
        let entries = || {
            vec![
                entry('0', Some("unknown/unknown"), None),
                entry('1', Some("linux/arm64/v8"), None),
                entry('2', Some("linux/amd64/v3"), None),
                entry('3', Some("linux/amd64"), None),
            ]
        };
        let chosen = |wanted: &str| choose(entries(), &wanted.parse().unwrap());
        assert_eq!(chosen("linux/amd64").unwrap().digest.to_string(), digest('3'));
        assert_eq!(chosen("linux/amd64/v3").unwrap().digest.to_string(), digest('2'));
        assert_eq!(chosen("linux/arm64").unwrap().digest.to_string(), digest('1'));
        let error = chosen("linux/riscv64").unwrap_err().to_string();
        assert!(error.starts_with("it has no image for linux/riscv64; it has `linux/arm64/v8`"), "{error}");
        assert!(matches!(choose(Vec::new(), &Platform::of_guests()), Err(ManifestError::Empty)));
    }

    #[test]
    fn a_tag_is_looked_for_by_its_name_or_in_a_whole_reference() {
        let entries = vec![entry('1', None, Some("a")), entry('2', None, Some("docker.io/x/y:b"))];
        let of = |tag| tagged(entries.clone(), Some(tag)).map(|found| found[0].digest.to_string());
        assert_eq!(of("a").unwrap(), digest('1'));
        assert_eq!(of("b").unwrap(), digest('2'));
        assert_eq!(
            of("c").unwrap_err().to_string(),
            "it has no image tagged `c`; it has `a`, `docker.io/x/y:b`"
        );
    }

    #[test]
    fn several_images_without_a_platform_are_one_only_if_they_are_the_same() {
        let wanted = Platform::of_guests();
        let same = vec![entry('1', None, Some("a")), entry('1', None, Some("b"))];
        assert!(choose(same, &wanted).is_ok());
        for platform in [None, Some("linux/amd64")] {
            let others = vec![entry('1', platform, Some("a")), entry('2', platform, Some("b"))];
            let error = choose(others, &"linux/amd64".parse().unwrap()).unwrap_err();
            assert!(matches!(error, ManifestError::Ambiguous { .. }), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read("", &bytes);
        }
    }
}
