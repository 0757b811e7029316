//! By whose certificates a registry is trusted, beside those that this machine trusts anyway: the `*.crt` files in the
//! folders that Docker and Podman look into, `certs.d/HOST:PORT`.

use reqwest::Certificate;
use std::io;
use std::path::{Path, PathBuf};

/// Below these are a folder for each registry.
const FOR_ALL: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];
/// The same below the user's configuration.
const FOR_USERS: [&str; 2] = ["docker/certs.d", "containers/certs.d"];

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Somebody said whom to trust, and it cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("no certificate found in {}", .0.display())]
    Empty(PathBuf),
    #[error("the certificate in {} cannot be used", path.display())]
    Unusable { path: PathBuf, source: reqwest::Error },
}

/// None where nobody said anything about this registry.
pub(super) fn of(registry: &str) -> Result<Option<Vec<Certificate>>, CertificatesError> {
    let own = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let users = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(own);
    let users = users.iter().flat_map(|folder| FOR_USERS.map(|name| folder.join(name)));
    let mut found = None;
    // It is no path that leads elsewhere: a reference's host begins with a letter, a digit or `[`, and has no slash.
    for folder in FOR_ALL.map(PathBuf::from).into_iter().chain(users).map(|all| all.join(registry)) {
        if let Some(more) = in_folder(&folder)? {
            found.get_or_insert_with(Vec::new).extend(more);
        }
    }
    Ok(found)
}

/// None where there is no such folder, or nothing about trust in it: one for client certificates is no such.
fn in_folder(folder: &Path) -> Result<Option<Vec<Certificate>>, CertificatesError> {
    let unread = |path: &Path, source| CertificatesError::Read { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(unread(folder, source)),
    };
    let mut found = None;
    for entry in entries {
        let path =
            entry.map_err(|source| CertificatesError::Read { path: folder.to_owned(), source })?.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| unread(&path, source))?;
        let certificates = split(&text);
        if certificates.is_empty() {
            return Err(CertificatesError::Empty(path));
        }
        for certificate in certificates {
            let certificate = Certificate::from_pem(certificate.as_bytes());
            let certificate =
                certificate.map_err(|source| CertificatesError::Unusable { path: path.clone(), source })?;
            found.get_or_insert_with(Vec::new).push(certificate);
        }
    }
    Ok(found)
}

/// A file may hold several; the client takes one at a time.
fn split(text: &str) -> Vec<String> {
    let blocks = text.split(BEGIN).skip(1).filter_map(|block| block.split_once(END));
    blocks.map(|(block, _)| format!("{BEGIN}{block}{END}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_several_certificates_and_words_between_them() {
        let text = format!("ours\n{BEGIN}\nAAAA\n{END}\nand theirs\n{BEGIN}\nBBBB\n{END}\n{BEGIN}\ncut");
        assert_eq!(split(&text), ["AAAA", "BBBB"].map(|data| format!("{BEGIN}\n{data}\n{END}\n")));
    }

    #[test]
    fn only_crt_files_say_whom_to_trust_and_empty_ones_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(in_folder(&folder.path().join("none")).unwrap().is_none());
        std::fs::write(folder.path().join("client.cert"), "x").unwrap();
        assert!(in_folder(folder.path()).unwrap().is_none());
        std::fs::write(folder.path().join("ca.crt"), format!("{BEGIN}\nAAAA\n{END}\n")).unwrap();
        assert_eq!(in_folder(folder.path()).unwrap().map(|found| found.len()), Some(1));
        std::fs::write(folder.path().join("bad.crt"), "nothing").unwrap();
        assert!(
            matches!(in_folder(folder.path()), Err(CertificatesError::Empty(path)) if path.ends_with("bad.crt"))
        );
    }
}
