//! Downloads that are continued where they broke off, connection after connection.

use crate::cache::{CacheError, Partial};
use crate::registry::NotGiven;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use std::io;
use std::time::Duration;

/// Connections that may break in a row without having brought us further.
const ATTEMPTS: u32 = 5;
/// A connection that brought less did not bring us further, or a server could go on for ever.
const STEP: u64 = 4 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection did not bring the rest.
#[derive(Debug)]
pub(crate) enum Interruption<E> {
    /// Another attempt may do better.
    Broken(io::Error),
    Final(E),
}

impl<E: From<CacheError>> From<CacheError> for Interruption<E> {
    fn from(error: CacheError) -> Self {
        Self::Final(error.into())
    }
}

/// What becomes of a file while it is filled.
pub(crate) enum Came<'a> {
    /// It is empty again: who was asked cannot continue.
    Anew,
    /// This was appended.
    Bytes(&'a [u8]),
}

/// Whatever follows the first `from` bytes.
pub(crate) fn rest_of(request: RequestBuilder, from: u64) -> RequestBuilder {
    if from == 0 { request } else { request.header(RANGE, format!("bytes={from}-")) }
}

/// Fills a file up to `size`, and never beyond. `ask` asks for what follows so many bytes, see [`rest_of`], and gets that
/// or all of it. Fails when as many connections as are allowed brought it no further, one after another.
pub(crate) async fn fill<E: From<CacheError>>(
    partial: &mut Partial,
    size: u64,
    ask: impl AsyncFn(u64) -> Result<Response, Interruption<E>>,
    mut came: impl FnMut(Came<'_>, &Partial),
    too_long: impl Fn() -> E,
) -> Result<(), Interruption<E>> {
    // The furthest that it ever was: it does not get there by beginning anew.
    let (mut failures, mut furthest) = (0, partial.length());
    while partial.length() < size {
        let source = match one_connection(partial, size, &ask, &mut came, &too_long).await {
            Ok(()) => io::ErrorKind::UnexpectedEof.into(),
            Err(Interruption::Broken(source)) => source,
            Err(last) => return Err(last),
        };
        if partial.length() >= size {
            break;
        }
        failures = if partial.length() >= furthest + STEP { 0 } else { failures + 1 };
        furthest = furthest.max(partial.length());
        if failures >= ATTEMPTS {
            return Err(Interruption::Broken(source));
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(failures)).await;
    }
    Ok(())
}

async fn one_connection<E: From<CacheError>>(
    partial: &mut Partial,
    size: u64,
    ask: &impl AsyncFn(u64) -> Result<Response, Interruption<E>>,
    came: &mut impl FnMut(Came<'_>, &Partial),
    too_long: &impl Fn() -> E,
) -> Result<(), Interruption<E>> {
    let broken = |error: NotGiven| Interruption::Broken(io::Error::other(error));
    let mut answer = ask(partial.length()).await?;
    if !is_rest(&answer, partial.length()).map_err(broken)? && partial.length() > 0 {
        partial.clear()?;
        came(Came::Anew, partial);
    }
    let promised = answer.content_length().unwrap_or(0);
    if partial.length().saturating_add(promised) > size {
        partial.clear()?;
        return Err(Interruption::Final(too_long()));
    }
    loop {
        let chunk = answer.chunk().await.map_err(|error| broken(error.into()))?;
        let Some(chunk) = chunk else { return Ok(()) };
        if partial.length() + chunk.len() as u64 > size {
            partial.clear()?;
            return Err(Interruption::Final(too_long()));
        }
        partial.append(&chunk)?;
        came(Came::Bytes(&chunk), partial);
    }
}

/// Whether an answer is what follows so many bytes, and not everything.
fn is_rest(answer: &Response, from: u64) -> Result<bool, NotGiven> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(false);
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let goes_on = range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
    if goes_on { Ok(true) } else { Err(NotGiven::OtherPlace) }
}
