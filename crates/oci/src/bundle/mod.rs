//! Bundles: one archive, whose digest and signature are compared while it comes.
//!
//! A catalog says where one is, what it hashes to and whose key signs it. The signature lies beside it, as `minisign`
//! names it: the bundle's name and `.minisig`. Its trusted comment has to say what the bundle is ([`comment`]), so
//! that nobody who can change a catalog can pass off one signed bundle as another.
//!
//! Plain HTTP is spoken to this machine alone. What broke off stays in the cache, under the digest it is to have, and is
//! continued by this command or the next one; what turned out to be something else does not.

mod web;

use crate::cache::{BlobCache, CacheError};
use crate::registry::{Event, NotGiven, Watch, is_loopback};
use banger_protocol::digest::Digest;
use minisign_verify::{PublicKey, Signature, StreamVerifier};
use sha2::Digest as _;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longer than any signature with its comments.
const MOST_SIGNATURE: u64 = 4096;
const SIGNATURE: &str = ".minisig";
const CHUNK: usize = 256 << 10;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An URL.
    Web(String),
    File(PathBuf),
}

impl Location {
    /// Reads what a catalog says: an URL, or a path. `None` for what cannot be trusted to lead there: another scheme,
    /// or plain HTTP to another machine.
    #[must_use]
    pub fn parse(text: &str, base: &Path) -> Option<Self> {
        match text.split_once("://") {
            Some(("https", rest)) if !rest.is_empty() => Some(Self::Web(text.to_owned())),
            // With a user in it, the name before the `@` is not the machine's.
            Some(("http", rest))
                if !rest.contains('@') && is_loopback(rest.split('/').next().unwrap_or_default()) =>
            {
                Some(Self::Web(text.to_owned()))
            }
            Some(("file", path)) if path.starts_with('/') => Some(Self::File(path.into())),
            Some(_) => None,
            None => Some(Self::File(base.join(text))),
        }
    }

    /// That of the signature beside it.
    fn signature(&self) -> Self {
        match self {
            Self::Web(url) => Self::Web(format!("{url}{SIGNATURE}")),
            Self::File(path) => {
                let mut name = path.clone().into_os_string();
                name.push(SIGNATURE);
                Self::File(name.into())
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A bundle that a catalog offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    pub location: Location,
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// As `minisign` prints public keys.
    pub public_key: String,
}

/// What a bundle's signature has to say about it.
#[must_use]
pub fn comment(kind: &str, name: &str) -> String {
    format!("banger {kind} {name}")
}

/// A bundle that was not had, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{0} cannot be read")]
    Read(Location, #[source] io::Error),
    #[error("{0} cannot be fetched")]
    Fetch(Location, #[source] Box<NotGiven>),
    #[error("{0} cannot be fetched: it is not there")]
    Absent(Location),
    #[error("no download can be started")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0} has no signature file next to it")]
    NoSignature(Location),
    #[error("the signature {0} cannot be understood")]
    BadSignature(Location, #[source] minisign_verify::Error),
    #[error("the public key cannot be understood")]
    BadKey(#[source] minisign_verify::Error),
    #[error("{0} was signed with another key")]
    OtherKey(Location),
    #[error("the signature is not of {location}")]
    WrongSignature {
        location: Location,
        #[source]
        source: minisign_verify::Error,
    },
    #[error("{location} was signed as {signed:?}, and not as {wanted:?}")]
    Swapped { location: Location, signed: String, wanted: String },
    #[error("{location} has {found} bytes, and not {size}")]
    Size { location: Location, found: u64, size: u64 },
    #[error("{location} is damaged: it hashes to {found}")]
    Damaged { location: Location, found: Digest },
    #[error("{0} broke off, again and again")]
    BrokeOff(Location, #[source] io::Error),
    #[error("{0} is longer than the {1} bytes that were promised")]
    TooLong(Location, u64),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("it was interrupted")]
    Cancelled,
}

impl BundleError {
    /// What its user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSignature(_) => Some("the publisher must provide a `.minisig` file next to the bundle"),
            Self::OtherKey(_) | Self::WrongSignature { .. } | Self::Swapped { .. } | Self::Damaged { .. } => {
                Some("it was modified, or the catalog entry is for another bundle: ask the publisher")
            }
            Self::BrokeOff(..) => Some("what came is kept: the same command continues it"),
            _ => None,
        }
    }
}

impl Bundle {
    /// The bundle in a file, after everything about it was found to be true. `what` is what it was signed as, see
    /// [`comment`].
    ///
    /// # Errors
    /// With the reason, when it cannot be had or is not what it should be.
    pub fn fetch(&self, what: &str, cache: &BlobCache, watch: &Watch<'_>) -> Result<File, BundleError> {
        let key = PublicKey::from_base64(self.public_key.trim()).map_err(BundleError::BadKey)?;
        let text = self.signature(watch)?;
        let place = self.location.signature();
        let signature =
            Signature::decode(&text).map_err(|error| BundleError::BadSignature(place.clone(), error))?;
        let verifier = || {
            key.verify_stream(&signature).map_err(|error| match error {
                minisign_verify::Error::UnexpectedKeyId => BundleError::OtherKey(self.location.clone()),
                error => BundleError::BadSignature(place.clone(), error),
            })
        };
        let mut check = Check { bundle: self, verifier: verifier()?, done: 0, watch };
        let file = match &self.location {
            Location::File(path) => {
                let (file, found) = check.read(path)?;
                check.finish(found)?;
                file
            }
            Location::Web(url) => web::download(url, cache, check, &verifier)?,
        };
        // Only now is what the signature says about itself known to be its signer's.
        if signature.trusted_comment() != what {
            let (signed, wanted) = (signature.trusted_comment().to_owned(), what.to_owned());
            return Err(BundleError::Swapped { location: self.location.clone(), signed, wanted });
        }
        Ok(file)
    }

    fn signature(&self, watch: &Watch<'_>) -> Result<String, BundleError> {
        let place = self.location.signature();
        let bytes = match &place {
            Location::File(path) => {
                let mut bytes = Vec::new();
                match File::open(path).and_then(|file| file.take(MOST_SIGNATURE).read_to_end(&mut bytes)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    read => {
                        read.map(|_| Some(bytes)).map_err(|error| BundleError::Read(place.clone(), error))?
                    }
                }
            }
            Location::Web(url) => web::small(url, &place, MOST_SIGNATURE, watch)?,
        };
        let bytes = bytes.ok_or_else(|| BundleError::NoSignature(self.location.clone()))?;
        String::from_utf8(bytes)
            .map_err(|_| BundleError::BadSignature(place, minisign_verify::Error::InvalidEncoding))
    }
}

/// A bundle's bytes on their way past everything that is compared.
struct Check<'a> {
    bundle: &'a Bundle,
    verifier: StreamVerifier<'a>,
    done: u64,
    watch: &'a Watch<'a>,
}

impl Check<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.done += bytes.len() as u64;
        self.verifier.update(bytes);
        (self.watch.tell)(Event::Bundle { done: self.done, total: self.bundle.size });
    }

    /// One that lies here, and what it hashes to.
    fn read(&mut self, path: &Path) -> Result<(File, Digest), BundleError> {
        let unreadable = |error| BundleError::Read(self.bundle.location.clone(), error);
        let mut file = File::open(path).map_err(unreadable)?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            if self.watch.cancel.is_cancelled() {
                return Err(BundleError::Cancelled);
            }
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Ok((file, Digest::new(hasher.finalize().into())));
            }
            hasher.update(&buffer[..read]);
            self.take(&buffer[..read]);
            if self.done > self.bundle.size {
                return Err(self.wrong_size());
            }
        }
    }

    fn wrong_size(&self) -> BundleError {
        let Bundle { location, size, .. } = self.bundle;
        BundleError::Size { location: location.clone(), found: self.done, size: *size }
    }

    /// Judges what was taken, which hashes to this.
    fn finish(self, found: Digest) -> Result<(), BundleError> {
        let location = &self.bundle.location;
        if self.done != self.bundle.size {
            return Err(self.wrong_size());
        }
        if found != self.bundle.sha256 {
            return Err(BundleError::Damaged { location: location.clone(), found });
        }
        let Self { bundle: Bundle { location, .. }, mut verifier, .. } = self;
        let verified = verifier.finalize();
        verified.map_err(|source| BundleError::WrongSignature { location: location.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Cancel;
    use std::io::Cursor;

    struct Published {
        folder: tempfile::TempDir,
        keys: minisign::KeyPair,
        bundle: Bundle,
    }

    fn sign(keys: &minisign::KeyPair, bytes: &[u8], comment: &str) -> String {
        let signed = minisign::sign(None, &keys.sk, Cursor::new(bytes), Some(comment), None);
        signed.unwrap().into_string()
    }

    fn publish(bytes: &[u8], what: &str) -> Published {
        let folder = tempfile::tempdir().unwrap();
        let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let path = folder.path().join("x.tar.zst");
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(folder.path().join("x.tar.zst.minisig"), sign(&keys, bytes, what)).unwrap();
        let bundle = Bundle {
            location: Location::File(path),
            sha256: Digest::new(sha2::Sha256::digest(bytes).into()),
            size: bytes.len() as u64,
            public_key: keys.pk.to_base64(),
        };
        Published { folder, keys, bundle }
    }

    fn fetch(bundle: &Bundle, what: &str) -> Result<File, BundleError> {
        let cancel = Cancel::default();
        let folder = tempfile::tempdir().unwrap();
        bundle.fetch(what, &BlobCache::in_folder(folder.path()), &Watch { tell: &|_| {}, cancel: &cancel })
    }

    const WHAT: &str = "banger image x";

    #[test]
    fn a_bundle_that_is_what_was_signed_is_taken() {
        let published = publish(b"bytes", WHAT);
        assert!(fetch(&published.bundle, &comment("image", "x")).is_ok());
    }

    #[test]
    fn wrong_missing_and_swapped_signatures_are_refused() {
        let Published { folder, keys, bundle } = publish(b"bytes", WHAT);
        let signature = folder.path().join("x.tar.zst.minisig");
        let good = std::fs::read_to_string(&signature).unwrap();
        let refused = |text: &str| {
            std::fs::write(&signature, text).unwrap();
            fetch(&bundle, WHAT).unwrap_err()
        };
        let strangers = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        assert!(matches!(refused(&sign(&strangers, b"bytes", WHAT)), BundleError::OtherKey(_)));
        assert!(matches!(refused(&sign(&keys, b"other", WHAT)), BundleError::WrongSignature { .. }));
        assert!(matches!(refused(&sign(&keys, b"bytes", "banger image y")), BundleError::Swapped { .. }));
        // What is said about the bundle is signed as well.
        let renamed = sign(&keys, b"bytes", "banger image y").replace("image y", "image x");
        assert!(matches!(refused(&renamed), BundleError::WrongSignature { .. }));
        assert!(matches!(refused("untrusted"), BundleError::BadSignature(..)));
        assert!(matches!(refused(""), BundleError::BadSignature(..)));
        std::fs::remove_file(&signature).unwrap();
        assert!(matches!(fetch(&bundle, WHAT), Err(BundleError::NoSignature(_))));
        std::fs::write(&signature, good).unwrap();
        assert!(fetch(&bundle, WHAT).is_ok());
        let key = Bundle { public_key: "RWQ".to_owned(), ..bundle };
        assert!(matches!(fetch(&key, WHAT), Err(BundleError::BadKey(_))));
    }

    #[test]
    fn another_digest_or_size_is_refused_though_the_signature_is_right() {
        let Published { folder: _folder, bundle, .. } = publish(b"bytes", WHAT);
        let other = Bundle { sha256: Digest::new([0; 32]), ..bundle.clone() };
        assert!(matches!(fetch(&other, WHAT), Err(BundleError::Damaged { .. })));
        for size in [4, 6] {
            let other = Bundle { size, ..bundle.clone() };
            assert!(matches!(fetch(&other, WHAT), Err(BundleError::Size { .. })));
        }
    }

    #[test]
    fn a_location_is_an_encrypted_one_or_this_machine() {
        let parse = |text: &str| Location::parse(text, Path::new("/base"));
        for (text, wanted) in [
            ("https://example.test/x", Some(Location::Web("https://example.test/x".to_owned()))),
            ("http://127.0.0.1:1/x", Some(Location::Web("http://127.0.0.1:1/x".to_owned()))),
            ("http://example.test/x", None),
            ("http://127.0.0.1.example.test/x", None),
            ("http://localhost:1@example.test/x", None),
            ("ftp://localhost/x", None),
            ("https://", None),
            ("file:///x", Some(Location::File("/x".into()))),
            ("x.tar.zst", Some(Location::File("/base/x.tar.zst".into()))),
            ("/x.tar.zst", Some(Location::File("/x.tar.zst".into()))),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
        assert_eq!(parse("/a.b").unwrap().signature(), Location::File("/a.b.minisig".into()));
    }
}
