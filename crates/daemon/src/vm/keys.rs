//! ssh keys: banger's own, made on first use, and a host key for each guest.
//!
//! The host makes the guest's key, so it can be pinned before anybody has connected.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("an ssh key could not be created")]
    Generate(#[source] ssh_key::Error),
    #[error("the ssh key {path} cannot be read")]
    Damaged { path: String, source: ssh_key::Error },
    #[error("the ssh key {path} could not be written")]
    Write { path: String, source: io::Error },
}

/// A fresh ed25519 private key in OpenSSH's own form.
pub(super) fn generate() -> Result<String, KeyError> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(KeyError::Generate)?;
    key.to_openssh(LineEnding::LF).map(|text| text.to_string()).map_err(KeyError::Generate)
}

/// The public half: `ssh-ed25519 AAAA…`, without a comment.
pub(crate) fn public_of(private: &str) -> Result<String, KeyError> {
    let key = PrivateKey::from_openssh(private).map_err(KeyError::Generate)?;
    key.public_key().to_openssh().map_err(KeyError::Generate)
}

/// The public half of banger's own key, which is made when it is not there.
pub(crate) fn own_key(path: &Path) -> Result<String, KeyError> {
    // Two first VMs at once make one key: there is one daemon for a state folder.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = path.display().to_string();
    match PrivateKey::read_openssh_file(path) {
        Ok(key) => key.public_key().to_openssh().map_err(KeyError::Generate),
        Err(ssh_key::Error::Io(io::ErrorKind::NotFound)) => {
            let private = generate()?;
            let write = |source| KeyError::Write { path: shown.clone(), source };
            let partial = path.with_extension("partial");
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&partial)
                .map_err(write)?;
            file.write_all(private.as_bytes()).map_err(write)?;
            std::fs::rename(&partial, path).map_err(write)?;
            public_of(&private)
        }
        Err(source) => Err(KeyError::Damaged { path: shown, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_need_the_own_key_at_once_get_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        let keys: Vec<String> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| own_key(&path).unwrap())).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn the_own_key_is_made_once_and_private() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        let public = own_key(&path).unwrap();
        assert!(public.starts_with("ssh-ed25519 AAAA"));
        assert_eq!(own_key(&path).unwrap(), public);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
