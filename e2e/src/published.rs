//! Images as others publish them, made by hand: layers, and the layouts and archives that hold them.
//!
//! Every byte is known, so a test can say what an image must hold, and change one.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A tar archive that is filled entry by entry.
pub struct LayerTar(tar::Builder<Vec<u8>>);

impl std::fmt::Debug for LayerTar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerTar").finish_non_exhaustive()
    }
}

impl Default for LayerTar {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl LayerTar {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, "", 0o644, content)
    }

    #[must_use]
    pub fn program(self, path: &str, content: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, "", 0o755, content)
    }

    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, "", 0o755, b"")
    }

    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, target, 0o777, b"")
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, target: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        if !target.is_empty() {
            header.set_link_name(target).expect("a short target");
        }
        self.0.append_data(&mut header, path, content).expect("writing to memory");
        self
    }

    /// An entry with extended records, which override what its header says.
    ///
    /// # Panics
    /// Never: it is written to memory.
    #[must_use]
    pub fn with(
        mut self,
        records: &[(&str, &[u8])],
        kind: tar::EntryType,
        path: &str,
        target: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).expect("writing to memory");
        self.entry(kind, path, target, mode, content)
    }

    /// A device for root alone.
    ///
    /// # Panics
    /// When the path is longer than a header has room for.
    #[must_use]
    pub fn device(mut self, kind: tar::EntryType, path: &str, major: u32, minor: u32) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(6);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).expect("a ustar header");
        self.0.append_data(&mut header, path, std::io::empty()).expect("writing to memory");
        self
    }

    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("writing to memory")
    }
}

/// A folder in the form of an image layout.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// An empty one in a folder that is made.
    ///
    /// # Panics
    /// When it cannot be.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).expect("the folder is writable");
        let layout = Self { folder: folder.to_owned(), manifests: Vec::new() };
        write(&layout.folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.write_index();
        layout
    }

    /// Adds an image of these archives, every second one compressed; returns the digests of its layers as stored.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn add(&mut self, tag: &str, architecture: &str, config: &Value, layers: &[Vec<u8>]) -> Vec<String> {
        let (mut diff_ids, mut stored) = (Vec::new(), Vec::new());
        for (index, layer) in layers.iter().enumerate() {
            diff_ids.push(format!("sha256:{}", sha256(layer)));
            let kind = "application/vnd.oci.image.layer.v1.tar";
            stored.push(match index % 2 {
                0 => self.blob(kind, layer),
                _ => self.blob(&format!("{kind}+gzip"), &gzip(layer)),
            });
        }
        let config = config_document(architecture, config, &diff_ids);
        let config = self.blob("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": stored});
        let mut entry = self.blob(MANIFEST, manifest.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.manifests.push(entry);
        self.write_index();
        stored.iter().filter_map(|layer| Some(layer["digest"].as_str()?.to_owned())).collect()
    }

    /// Where a blob lies.
    #[must_use]
    pub fn path_of(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs").join(digest.replace(':', "/"))
    }

    /// The whole layout in one archive.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn archive(&self, file: &Path) {
        let mut archive = tar::Builder::new(fs::File::create(file).expect("the archive is writable"));
        archive.append_dir_all(".", &self.folder).expect("the layout is readable");
        archive.finish().expect("the archive is writable");
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", sha256(bytes));
        write(&self.path_of(&digest), bytes);
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        write(&self.folder.join("index.json"), index.to_string().as_bytes());
    }
}

/// Writes what `docker save` would, of one image for this machine.
///
/// # Panics
/// When the file cannot be written.
pub fn docker_archive(file: &Path, name: &str, config: &Value, layers: &[Vec<u8>]) {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let config = config_document("amd64", config, &diff_ids);
    let config_name = format!("{}.json", sha256(&config));
    let mut archive = LayerTar::new().file(&config_name, &config);
    let mut names = Vec::new();
    for layer in layers {
        names.push(format!("{}/layer.tar", sha256(layer)));
        archive = archive.file(names.last().expect("just pushed"), layer);
    }
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
    write(file, &archive.file("manifest.json", manifest.to_string().as_bytes()).bytes());
}

fn config_document(architecture: &str, config: &Value, diff_ids: &[String]) -> Vec<u8> {
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let document = json!({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs});
    document.to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory")
}

/// The SHA-256 of these bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
