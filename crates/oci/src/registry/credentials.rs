//! Whom a registry is asked as: what `docker login` left, or its credential helpers, or nobody.

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential};
use std::path::{Path, PathBuf};

/// How Docker's own configuration calls Docker Hub.
const HUB: &str = "docker.io";
const HUB_IN_CONFIG: &str = "https://index.docker.io/v1/";

/// Whom a host is asked as.
pub(super) enum Credentials {
    Nobody,
    Basic { name: String, password: String },
}

/// There are credentials, and they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("docker's configuration cannot be used")]
    Retrieve(#[source] CredentialRetrievalError),
    #[error("an identity token was stored, and only a name with a password or an access token can be used")]
    IdentityToken,
}

pub(super) fn of(registry: &str) -> Result<Credentials, CredentialError> {
    // The library does not tell a file that is not there from one that cannot be read.
    if !configuration().is_some_and(|file| file.exists()) {
        return Ok(Credentials::Nobody);
    }
    let server = if registry == HUB { HUB_IN_CONFIG } else { registry };
    judge(get_credential(server))
}

/// Docker's own configuration.
fn configuration() -> Option<PathBuf> {
    let in_home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(in_home)?;
    Some(folder.join("config.json"))
}

/// Helpers that do not know a registry say so by failing; an image may well be public then.
fn judge(found: Result<DockerCredential, CredentialRetrievalError>) -> Result<Credentials, CredentialError> {
    match found {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(Credentials::Basic { name, password }),
        Ok(DockerCredential::IdentityToken(_)) => Err(CredentialError::IdentityToken),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::HelperFailure { .. },
        ) => Ok(Credentials::Nobody),
        Err(error) => Err(CredentialError::Retrieve(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_credentials_asks_as_nobody_and_broken_ones_are_told() {
        let basic = DockerCredential::UsernamePassword("a".to_owned(), "b".to_owned());
        assert!(matches!(judge(Ok(basic)), Ok(Credentials::Basic { name, .. }) if name == "a"));
        let helper = CredentialRetrievalError::HelperFailure {
            helper: "x".to_owned(),
            stdout: "credentials not found in native keychain".to_owned(),
            stderr: String::new(),
        };
        for none in [CredentialRetrievalError::ConfigNotFound, helper] {
            assert!(matches!(judge(Err(none)), Ok(Credentials::Nobody)));
        }
        assert!(judge(Err(CredentialRetrievalError::ConfigReadError)).is_err());
        assert!(judge(Err(CredentialRetrievalError::CredentialDecodingError)).is_err());
        assert!(judge(Ok(DockerCredential::IdentityToken("t".to_owned()))).is_err());
    }
}
