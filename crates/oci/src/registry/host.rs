//! One repository at one host: the registry itself, or a mirror of it.
//!
//! Who we are there is found in Docker's configuration under that very host, and told to it and to whom it names as
//! the giver of its tokens, and to nobody else: a redirection to another host goes on without, and what is asked for
//! there is not answered. What is read into memory has a limit that is enforced before it is read.

use super::PullError;
use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::http::{self, HttpError, Scheme, is_loopback, read_all};
use crate::metadata::{MAX_METADATA, MetadataError};
use crate::resume::rest_of;
use banger_protocol::digest::Digest;
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::cell::RefCell;
use std::time::Duration;

/// Where Docker Hub's images really are.
const HUB: &str = "docker.io";
const HUBS_REGISTRY: &str = "registry-1.docker.io";
/// Longest answer of who hands out tokens.
const MOST_TOKEN: u64 = 256 << 10;
/// How much of a refusal is read, and told.
const MOST_REFUSAL: u64 = 16 << 10;
const MOST_TOLD: usize = 300;
/// For anything that is read into memory, from asking to its last byte.
const METADATA_WITHIN: Duration = Duration::from_secs(120);

/// A host that has the repository, or might.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Perhaps with a port.
    pub host: String,
    pub scheme: Scheme,
    /// What its names of repositories begin with, without slashes around it; mostly nothing.
    pub prefix: String,
}

/// What came instead of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    #[error("it answered {status}{said}")]
    Status { status: u16, said: String },
    #[error("it requires authentication, and there are no credentials for it")]
    NoCredentials,
    #[error("its token server {0} is not one that credentials may be sent to")]
    Realm(String),
    #[error("the token it was to give cannot be understood")]
    Token(#[source] serde_json::Error),
    #[error("what it gives as a token is longer than {MOST_TOKEN} bytes")]
    LongToken,
    #[error("it went on at another place than it was asked to")]
    OtherPlace,
    #[error("it took longer than {} s", METADATA_WITHIN.as_secs())]
    TooSlow,
}

/// What requests are signed with.
enum Authorization {
    None,
    Basic { name: String, password: String },
    Token(String),
}

pub(super) struct Host {
    http: Client,
    /// Host and port, as users know it.
    name: String,
    /// `https://host/v2/`
    base: String,
    in_the_clear: bool,
    repository: String,
    credentials: Credentials,
    authorization: RefCell<Authorization>,
}

impl Host {
    /// Finds out how one gets in, and as whom.
    pub(super) async fn enter(place: &Place, repository: &str) -> Result<Self, PullError> {
        let name = place.host.clone();
        let credentials = credentials::of(&name)
            .map_err(|source| PullError::Credentials { registry: name.clone(), source })?;
        let (http, in_the_clear) = http::client(&name, place.scheme).map_err(|error| match error {
            HttpError::Certificates(source) => PullError::Certificates { registry: name.clone(), source },
            HttpError::Client(source) => PullError::Client(source.into()),
        })?;
        let scheme = if in_the_clear { "http" } else { "https" };
        let address = if name == HUB { HUBS_REGISTRY } else { &name };
        let base = format!("{scheme}://{address}/v2/");
        let repository = match place.prefix.as_str() {
            "" => repository.to_owned(),
            prefix => format!("{prefix}/{repository}"),
        };
        let authorization = RefCell::new(Authorization::None);
        let host = Self { http, name, base, in_the_clear, repository, credentials, authorization };
        // Asked first and for nothing: some registries deny images to nobody that they have for us.
        let first = host.http.get(&host.base).send().await;
        let entered = match first {
            Ok(response) => match host.satisfy(&response).await {
                // Who greets nobody may still give images to anybody: what is asked for decides.
                Ok(_) | Err(NotGiven::NoCredentials) => Ok(()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        };
        entered.map_err(|error| host.explain("access", error))?;
        Ok(host)
    }

    /// A manifest or an index, by tag or digest. `what` is what errors call it.
    pub(super) async fn manifest(
        &self,
        which: &str,
        accepted: &[&str],
        what: &str,
    ) -> Result<Vec<u8>, PullError> {
        let url = format!("{}{}/manifests/{which}", self.base, self.repository);
        let work = async {
            let asked = self.ask(&url, |request| request.header(ACCEPT, accepted.join(", "))).await;
            let answer = asked.map_err(|error| self.explain(what, error))?;
            let bytes =
                read_all(answer, MAX_METADATA).await.map_err(|error| self.explain(what, error.into()))?;
            bytes.ok_or_else(|| MetadataError::TooLong { what: what.to_owned() }.into())
        };
        let outcome = tokio::time::timeout(METADATA_WITHIN, work).await;
        outcome.unwrap_or_else(|_| Err(self.explain(what, NotGiven::TooSlow)))
    }

    /// What follows the first `from` bytes of a blob, or all of it.
    pub(super) async fn blob(&self, digest: Digest, from: u64) -> Result<Response, NotGiven> {
        let url = format!("{}{}/blobs/{digest}", self.base, self.repository);
        self.ask(&url, |request| rest_of(request, from)).await
    }

    /// An answer that is one. A token may have become too old on the way: then there is a new one, once.
    async fn ask(
        &self,
        url: &str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, NotGiven> {
        let send = || with(self.signed(self.http.get(url))).send();
        let mut response = send().await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.satisfy(&response).await? {
            response = send().await?;
        }
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &*self.authorization.borrow() {
            Authorization::None => request,
            Authorization::Basic { name, password } => request.basic_auth(name, Some(password)),
            Authorization::Token(token) => request.bearer_auth(token),
        }
    }

    /// Gets what an answer asks for, if it asks for anything that is understood. Whoever a redirection led to is not the
    /// host, and would be told who we are.
    async fn satisfy(&self, response: &Response) -> Result<bool, NotGiven> {
        if !Url::parse(&self.base).is_ok_and(|base| base.origin() == response.url().origin()) {
            return Ok(false);
        }
        let asked = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = challenge::preferred(asked.filter_map(|header| header.to_str().ok()));
        let authorization = match (challenge, &self.credentials) {
            (None, _) => return Ok(false),
            (Some(Challenge::Basic), Credentials::Nobody) => return Err(NotGiven::NoCredentials),
            (Some(Challenge::Basic), Credentials::Basic { name, password }) => {
                Authorization::Basic { name: name.clone(), password: password.clone() }
            }
            (Some(Challenge::Bearer { realm, service }), _) => {
                Authorization::Token(self.token(&realm, service.as_deref()).await?)
            }
        };
        *self.authorization.borrow_mut() = authorization;
        Ok(true)
    }

    /// A token to read this one repository.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<String, NotGiven> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let shown = || NotGiven::Realm(realm.chars().take(MOST_TOLD).collect());
        let mut url = Url::parse(realm).map_err(|_| shown())?;
        let here = url.host_str().is_some_and(|host| is_loopback(host) || self.is_called(host));
        match url.scheme() {
            "https" => {}
            "http" if self.in_the_clear && here => {}
            _ => return Err(shown()),
        }
        url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", self.repository));
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.http.get(url);
        if let Credentials::Basic { name, password } = &self.credentials {
            request = request.basic_auth(name, Some(password));
        }
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let read = tokio::time::timeout(METADATA_WITHIN, read_all(response, MOST_TOKEN)).await;
        let bytes = read.map_err(|_| NotGiven::TooSlow)??.ok_or(NotGiven::LongToken)?;
        let Answer { token, access_token } = serde_json::from_slice(&bytes).map_err(NotGiven::Token)?;
        // One of them is there, and old servers know the first alone.
        Ok(token.filter(|token| !token.is_empty()).or(access_token).unwrap_or_default())
    }

    fn is_called(&self, host: &str) -> bool {
        self.name == host || self.name.rsplit_once(':').is_some_and(|(name, _)| name == host)
    }

    /// What it means to a user.
    pub(super) fn explain(&self, what: &str, source: NotGiven) -> PullError {
        let (registry, what) = (self.name.clone(), what.to_owned());
        let status = if let NotGiven::Status { status, .. } = &source { *status } else { 0 };
        let is_locked = matches!(source, NotGiven::NoCredentials) || matches!(status, 401 | 403);
        let source = Box::new(source);
        match status {
            _ if is_locked => PullError::Unauthorized { registry, source },
            404 => PullError::NotFound { registry, what, source },
            _ => PullError::Registry { registry, what, source },
        }
    }
}

impl NotGiven {
    /// Whether asking again may do better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Request(error) => !error.is_builder() && !error.is_redirect(),
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::OtherPlace => true,
            Self::NoCredentials | Self::Realm(_) | Self::Token(_) | Self::LongToken | Self::TooSlow => false,
        }
    }
}

/// What a registry says beside its status: the messages of its errors, or the beginning of whatever it is.
async fn refusal(response: Response) -> NotGiven {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status().as_u16();
    let read = tokio::time::timeout(METADATA_WITHIN, read_all(response, MOST_REFUSAL)).await;
    let bytes = read.ok().and_then(Result::ok).flatten().unwrap_or_default();
    let said = match serde_json::from_slice::<Answer>(&bytes) {
        Ok(Answer { errors }) => {
            errors.iter().map(|error| format!(": {} {}", error.code, error.message)).collect()
        }
        Err(_) => String::new(),
    };
    let said = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TOLD).collect();
    NotGiven::Status { status, said }
}
