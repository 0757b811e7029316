//! Bundles that are elsewhere.

use super::{BundleError, Check, Location};
use crate::cache::{BlobCache, Partial};
use crate::registry::{NotGiven, Watch, careful, read_all};
use crate::resume::{self, Came, Interruption, rest_of};
use minisign_verify::StreamVerifier;
use reqwest::{Client, Response, StatusCode, Url};
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// Another command fetches the same.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const CHUNK: usize = 256 << 10;

/// Brings a bundle here, past everything that is compared, and takes it out of the cache. `verifier` makes a new one for
/// when all is begun anew.
pub(super) fn download<'a>(
    url: &str,
    cache: &BlobCache,
    mut check: Check<'a>,
    verifier: &impl Fn() -> Result<StreamVerifier<'a>, BundleError>,
) -> Result<File, BundleError> {
    let (bundle, watch) = (check.bundle, check.watch);
    let place = || bundle.location.clone();
    run(watch, async {
        let client = client(url)?;
        let mut partial = loop {
            match cache.partial(bundle.sha256, bundle.size)? {
                Some(partial) => break partial,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        pass_what_is_there(&partial, &mut check)?;
        let ask = async |from| get(&client, url, from).await.map_err(|error| refused(error, place()));
        let came = |came: Came<'_>, _: &Partial| match came {
            Came::Bytes(bytes) => check.take(bytes),
            Came::Anew => {
                check.done = 0;
                // It could be made before.
                verifier().into_iter().for_each(|new| check.verifier = new);
            }
        };
        let too_long = || BundleError::TooLong(place(), bundle.size);
        match resume::fill(&mut partial, bundle.size, ask, came, too_long).await {
            Ok(()) => {}
            Err(Interruption::Broken(source)) => return Err(BundleError::BrokeOff(place(), source)),
            Err(Interruption::Final(error)) => return Err(error),
        }
        match check.finish(partial.digest()) {
            Ok(()) => Ok(partial.take_out()?),
            Err(wrong) => {
                partial.discard()?;
                Err(wrong)
            }
        }
    })
}

/// A small file; none if it is not there, or longer than a small file of its kind can be.
pub(super) fn small(
    url: &str,
    place: &Location,
    most: u64,
    watch: &Watch<'_>,
) -> Result<Option<Vec<u8>>, BundleError> {
    let failed = |error: NotGiven| BundleError::Fetch(place.clone(), Box::new(error));
    run(watch, async {
        match get(&client(url)?, url, 0).await {
            Ok(answer) => read_all(answer, most).await.map_err(|error| failed(error.into())),
            Err(NotGiven::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    })
}

fn run<T>(watch: &Watch<'_>, work: impl Future<Output = Result<T, BundleError>>) -> Result<T, BundleError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| BundleError::Client(error.into()))?;
    runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            () = watch.cancel.cancelled() => Err(BundleError::Cancelled),
        }
    })
}

fn client(url: &str) -> Result<Client, BundleError> {
    let url = Url::parse(url).map_err(|error| BundleError::Client(error.into()))?;
    let client = careful(url.host_str().unwrap_or_default()).build();
    client.map_err(|error| BundleError::Client(error.into()))
}

async fn get(client: &Client, url: &str, from: u64) -> Result<Response, NotGiven> {
    let answer = rest_of(client.get(url), from).send().await?;
    match answer.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
        status => Err(NotGiven::Status { status: status.as_u16(), said: String::new() }),
    }
}

fn refused(error: NotGiven, place: Location) -> Interruption<BundleError> {
    match error {
        error if error.may_pass() => Interruption::Broken(io::Error::other(error)),
        NotGiven::Status { status: 404, .. } => Interruption::Final(BundleError::Absent(place)),
        error => Interruption::Final(BundleError::Fetch(place, Box::new(error))),
    }
}

fn pass_what_is_there(partial: &Partial, check: &mut Check<'_>) -> Result<(), BundleError> {
    let unread = |error| BundleError::Read(check.bundle.location.clone(), error);
    let mut there = partial.read()?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = there.read(&mut buffer).map_err(unread)?;
        if read == 0 {
            return Ok(());
        }
        check.take(&buffer[..read]);
    }
}
