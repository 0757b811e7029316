//! One blob on its way into the cache.
//!
//! What is there is not fetched; what is partly there is continued where it ends, in this command or in the next
//! one, from this host or from another. A host is said to give damaged blobs only when it gave all of one: where it
//! continued another's and the digest is wrong, it is asked once more, for everything. Somebody else who fetches the
//! same blob is waited for.

use super::PullError;
use super::host::Host;
use crate::cache::{BlobCache, Partial};
use crate::manifest::Descriptor;
use crate::metadata::{MAX_METADATA, MetadataError};
use crate::resume::{self, Interruption};
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Download<'a> {
    pub(super) cache: &'a BlobCache,
    /// What errors call it.
    pub(super) what: &'a str,
    pub(super) descriptor: &'a Descriptor,
    /// Told how many bytes of it are here.
    pub(super) report: &'a dyn Fn(u64),
}

impl Download<'_> {
    /// The whole blob, which is what its digest says.
    pub(super) async fn from(&self, host: &Host) -> Result<File, PullError> {
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
        let what = || self.what.to_owned();
        let ask = async |from| match host.blob(digest, from).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.may_pass() => Err(Interruption::Broken(io::Error::other(error))),
            Err(error) => Err(Interruption::Final(host.explain(self.what, error))),
        };
        let came = |_: resume::Came<'_>, partial: &Partial| (self.report)(partial.length());
        let too_long = || PullError::TooLong { what: what(), size };
        loop {
            let is_all_its_own = partial.length() == 0;
            match resume::fill(&mut partial, size, &ask, came, too_long).await {
                Ok(()) => {}
                Err(Interruption::Broken(source)) => {
                    return Err(PullError::BrokeOff { what: what(), source });
                }
                Err(Interruption::Final(error)) => return Err(error),
            }
            let found = partial.digest();
            if found == digest {
                return Ok(partial.publish()?);
            }
            if is_all_its_own {
                partial.discard()?;
                return Err(PullError::Damaged { what: what(), found });
            }
            // What it began with came from another host or at another time, and may be what is wrong.
            partial.clear()?;
            (self.report)(0);
        }
    }

    /// The content of a blob that is small.
    pub(super) async fn read(&self, host: &Host) -> Result<Vec<u8>, PullError> {
        let what = || self.what.to_owned();
        if self.descriptor.size > MAX_METADATA {
            return Err(MetadataError::TooLong { what: what() }.into());
        }
        let mut bytes = Vec::new();
        let read = self.from(host).await?.take(MAX_METADATA).read_to_end(&mut bytes);
        read.map_err(|source| MetadataError::Read { what: what(), source })?;
        crate::metadata::check(self.what, &bytes, self.descriptor.digest)?;
        Ok(bytes)
    }
}
