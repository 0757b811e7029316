//! Reading what describes an image: small, limited, and compared with its digest before it is parsed.

use banger_protocol::digest::Digest;
use serde::de::DeserializeOwned;
use sha2::Digest as _;
use std::io;

/// Longest index, manifest or config, in bytes; registries refuse longer manifests than this.
pub(crate) const MAX_METADATA: u64 = 4 << 20;

/// A document about an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("{what} cannot be read")]
    Read { what: String, source: io::Error },
    #[error("{what} is longer than {MAX_METADATA} bytes")]
    TooLong { what: String },
    #[error("{what} is damaged: it hashes to {found}")]
    Digest { what: String, found: Digest },
    #[error("{what} should have {expected} bytes and has {found}")]
    Length { what: String, expected: u64, found: u64 },
    #[error("{what} is not understood")]
    Malformed { what: String, source: serde_json::Error },
}

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    Digest::new(sha2::Sha256::digest(bytes).into())
}

pub(crate) fn check(what: &str, bytes: &[u8], expected: Digest) -> Result<(), MetadataError> {
    let found = hash(bytes);
    if found == expected { Ok(()) } else { Err(MetadataError::Digest { what: what.to_owned(), found }) }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, MetadataError> {
    serde_json::from_slice(bytes).map_err(|source| MetadataError::Malformed { what: what.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_not_what_its_digest_says_is_refused() {
        assert!(check("x", b"{}", hash(b"{}")).is_ok());
        assert!(matches!(check("x", b"{ }", hash(b"{}")), Err(MetadataError::Digest { .. })));
    }
}
