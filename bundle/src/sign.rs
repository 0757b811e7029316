//! The publisher's signature, in the form of `minisign`.

use anyhow::{Context as _, Result};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

pub(crate) struct Key {
    secret: SecretKey,
    public: String,
}

impl Key {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let boxed =
            || SecretKeyBox::from_string(&text).with_context(|| format!("understanding {}", path.display()));
        let secret = match boxed()?.into_unencrypted_secret_key() {
            Ok(key) => key,
            Err(_) => {
                let mut password = String::new();
                std::io::stdin().read_line(&mut password).context("reading the key's password")?;
                let password = password.trim_end_matches('\n').to_owned();
                boxed()?.into_secret_key(Some(password)).context("opening the key")?
            }
        };
        let public = PublicKey::from_secret_key(&secret).context("deriving the public key")?.to_base64();
        Ok(Self { secret, public })
    }

    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// Signs a file, and says in the signature what it is.
    pub(crate) fn sign(&self, file: &Path, what: &str) -> Result<()> {
        let bytes = BufReader::new(File::open(file).with_context(|| format!("reading {}", file.display()))?);
        let signature = minisign::sign(None, &self.secret, bytes, Some(what), None).context("signing")?;
        let place = format!("{}.minisig", file.display());
        fs::write(&place, signature.into_string()).with_context(|| format!("writing {place}"))
    }
}
