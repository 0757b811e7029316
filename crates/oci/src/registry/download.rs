//! One blob on its way into the cache.
//!
//! What is there is not fetched; what is partly there is continued where it ends, in this command or in the next
//! one. Somebody else who fetches the same blob is waited for.

use super::{PullError, Registry};
use crate::cache::{BlobCache, CacheError, Partial};
use crate::manifest::Descriptor;
use crate::metadata::{MAX_METADATA, MetadataError};
use futures_util::StreamExt;
use oci_client::client::BlobResponse;
use oci_client::errors::OciDistributionError;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// Connections that may break in a row without having brought anything.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Download<'a> {
    pub(super) registry: &'a Registry<'a>,
    pub(super) cache: &'a BlobCache,
    /// What errors call it.
    pub(super) what: String,
    pub(super) descriptor: &'a Descriptor,
    /// Told of bytes that are here, or no longer to be waited for.
    pub(super) report: &'a dyn Fn(u64),
}

/// Why a connection did not bring the rest.
enum Interruption {
    /// Another attempt may do better.
    Broken(io::Error),
    Final(PullError),
}

impl From<CacheError> for Interruption {
    fn from(error: CacheError) -> Self {
        Self::Final(error.into())
    }
}

impl Download<'_> {
    /// The whole blob, which is what its digest says.
    pub(super) async fn run(self) -> Result<File, PullError> {
        let Descriptor { digest, size, .. } = *self.descriptor;
        let mut partial = loop {
            if let Some(file) = self.cache.open(digest, size)? {
                (self.report)(size);
                return Ok(file);
            }
            match self.cache.partial(digest, size)? {
                Some(partial) => break partial,
                // Somebody else fetches it, and then it is here.
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        // It may have become whole between looking for it and having it alone.
        if let Some(file) = self.cache.open(digest, size)? {
            partial.discard()?;
            (self.report)(size);
            return Ok(file);
        }
        (self.report)(partial.length());
        self.fill(&mut partial).await?;
        let found = partial.digest();
        if found != digest {
            partial.discard()?;
            return Err(PullError::Damaged { what: self.what, found });
        }
        Ok(partial.publish()?)
    }

    /// The content of a blob that is small.
    pub(super) async fn read(self) -> Result<Vec<u8>, PullError> {
        let what = self.what.clone();
        if self.descriptor.size > MAX_METADATA {
            return Err(MetadataError::TooLong { what }.into());
        }
        let digest = self.descriptor.digest;
        let mut bytes = Vec::new();
        let read = self.run().await?.take(MAX_METADATA).read_to_end(&mut bytes);
        read.map_err(|source| MetadataError::Read { what: what.clone(), source })?;
        crate::metadata::check(&what, &bytes, digest)?;
        Ok(bytes)
    }

    async fn fill(&self, partial: &mut Partial) -> Result<(), PullError> {
        let mut failures = 0;
        while partial.length() < self.descriptor.size {
            let before = partial.length();
            match self.continue_with(partial).await {
                Ok(()) if partial.length() >= self.descriptor.size => return Ok(()),
                Ok(()) => failures += 1,
                Err(Interruption::Final(error)) => return Err(error),
                Err(Interruption::Broken(source)) => {
                    failures = if partial.length() > before { 0 } else { failures + 1 };
                    if failures >= ATTEMPTS {
                        return Err(PullError::BrokeOff { what: self.what.clone(), source });
                    }
                }
            }
            if failures >= ATTEMPTS {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(PullError::BrokeOff { what: self.what.clone(), source });
            }
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(failures)).await;
        }
        Ok(())
    }

    /// One connection's worth.
    async fn continue_with(&self, partial: &mut Partial) -> Result<(), Interruption> {
        let Descriptor { digest, size, .. } = *self.descriptor;
        let at = self.registry.at(Some(digest));
        let name = digest.to_string();
        let asked = self.registry.client.pull_blob_stream_partial(&at, name.as_str(), partial.length(), None);
        let mut stream = match asked.await {
            Ok(BlobResponse::Partial(part)) => part.stream,
            Ok(BlobResponse::Full(whole)) => {
                // A registry that cannot continue begins anew; the progress does not run backwards.
                partial.clear()?;
                whole.stream
            }
            Err(OciDistributionError::RequestError(error)) if !error.is_builder() => {
                return Err(Interruption::Broken(io::Error::other(error)));
            }
            Err(error) => return Err(Interruption::Final(self.registry.explain(&self.what, error))),
        };
        let counted_from = partial.length();
        let mut counted = counted_from;
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // The client compares whole blobs itself; this module does it for all, and says what it found.
                Err(_) if partial.length() == size => return Ok(()),
                Err(error) => return Err(Interruption::Broken(error)),
            };
            if partial.length() + chunk.len() as u64 > size {
                let what = self.what.clone();
                partial.clear()?;
                return Err(Interruption::Final(PullError::TooLong { what, size }));
            }
            partial.append(&chunk)?;
            (self.report)(partial.length() - counted);
            counted = partial.length();
        }
        Ok(())
    }
}
