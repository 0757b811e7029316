//! Who is asked for images before their registry is. Pure.

/// How Docker Hub is called where images are named.
const HUB: &str = "docker.io";
const HUBS_OTHER_NAMES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The mirrors of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryMirrors {
    /// Host, perhaps with a port, as in references.
    pub registry: String,
    /// In the order in which they are asked.
    pub mirrors: Vec<Mirror>,
}

/// Somewhere else to have a registry's images from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub scheme: MirrorScheme,
    /// Perhaps with a port.
    pub host: String,
    /// What the names of repositories begin with there; mostly nothing.
    pub prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorScheme {
    /// As a registry of that name would be spoken to.
    Usual,
    Http,
    Https,
}

impl RegistryMirrors {
    /// From what the file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(registry: &str, mirrors: &[String]) -> Result<Self, String> {
        if !is_host(registry) {
            return Err(format!(
                "`{registry}` is not a registry: write for example docker.io or localhost:5000"
            ));
        }
        let registry = if HUBS_OTHER_NAMES.contains(&registry) { HUB } else { registry };
        let mirrors = mirrors.iter().map(|mirror| Mirror::parse(mirror)).collect::<Result<_, _>>()?;
        Ok(Self { registry: registry.to_owned(), mirrors })
    }
}

impl Mirror {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            None => (MirrorScheme::Usual, text),
            Some(("http", rest)) => (MirrorScheme::Http, rest),
            Some(("https", rest)) => (MirrorScheme::Https, rest),
            Some(_) => (MirrorScheme::Usual, ""),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_host(host) || !(prefix.is_empty() || is_repository(prefix)) {
            return Err(format!(
                "`{text}` is not a mirror: write for example mirror.example:5000 or https://mirror.example/prefix"
            ));
        }
        Ok(Self { scheme, host: host.to_owned(), prefix: prefix.to_owned() })
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            MirrorScheme::Usual => "",
            MirrorScheme::Http => "http://",
            MirrorScheme::Https => "https://",
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}{}{slash}{}", self.host, self.prefix)
    }
}

/// As references have it: no user, no path, nothing that could lead elsewhere.
fn is_host(host: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    host.bytes().all(legal) && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
}

fn is_repository(prefix: &str) -> bool {
    let word = |word: &str| {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        word.bytes().all(legal) && word.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    prefix.split('/').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_host_or_an_url_without_anything_in_it_that_could_lead_elsewhere() {
        let parse = |text: &str| Mirror::parse(text);
        let mirror = |scheme, host: &str, prefix: &str| {
            Ok(Mirror { scheme, host: host.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(parse("mirror.test:5000"), mirror(MirrorScheme::Usual, "mirror.test:5000", ""));
        assert_eq!(parse("https://mirror.test/"), mirror(MirrorScheme::Https, "mirror.test", ""));
        assert_eq!(parse("http://10.0.0.1:5000/a/b"), mirror(MirrorScheme::Http, "10.0.0.1:5000", "a/b"));
        for text in ["mirror.test:5000", "https://mirror.test/hub", "http://[::1]:5000"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "ftp://mirror.test",
            "https://",
            "https://user@mirror.test",
            "mirror.test/../x",
            "mirror.test/a//b",
            "mirror.test?x",
            "mirror.test/UPPER",
            "/path",
            "-x",
            "mirror test",
        ] {
            assert!(parse(wrong).is_err_and(|said| said.contains("is not a mirror")), "{wrong}");
        }
    }

    #[test]
    fn docker_hub_has_one_name() {
        let of = |registry: &str| RegistryMirrors::parse(registry, &[]).map(|one| one.registry);
        assert_eq!(of("index.docker.io"), Ok("docker.io".to_owned()));
        assert_eq!(of("localhost:5000"), Ok("localhost:5000".to_owned()));
        assert!(of("docker.io/library").is_err() && of("").is_err());
    }
}
