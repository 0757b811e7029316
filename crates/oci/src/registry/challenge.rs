//! How a registry asks who we are: its `WWW-Authenticate`. Pure.

/// What would let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token that is to be had from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// What of everything that would let us in is taken, from all headers: a token, which is for one repository and for a
/// while. None where nothing is understood.
pub(super) fn preferred<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut all: Vec<Challenge> = headers.flat_map(read).collect();
    let token = all.iter().position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    (!all.is_empty()).then(|| all.swap_remove(token.unwrap_or(0)))
}

/// One that is being read: its scheme, and those of its parameters that matter.
#[derive(Default)]
struct Unfinished<'a> {
    scheme: &'a str,
    realm: Option<String>,
    service: Option<String>,
}

impl Unfinished<'_> {
    fn finish(self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        let Self { scheme, realm, service } = self;
        scheme.eq_ignore_ascii_case("bearer").then_some(Challenge::Bearer { realm: realm?, service })
    }
}

/// Those of one header that are understood. Commas lie between challenges as they lie between the parameters of one
/// (RFC 9110, section 11.6.1): a word with none of its own is a scheme.
fn read(header: &str) -> Vec<Challenge> {
    let (mut all, mut current, mut rest) = (Vec::new(), Unfinished::default(), header);
    loop {
        let found = parameter(rest);
        let words = found.as_ref().map_or(rest, |(words, ..)| words);
        let mut pieces: Vec<&str> =
            words.split(',').map(str::trim).filter(|piece| !piece.is_empty()).collect();
        let named = if found.is_some() { pieces.pop() } else { None };
        let (scheme, name) = match named.unwrap_or_default().rsplit_once([' ', '\t']) {
            Some((scheme, name)) => (Some(scheme), name),
            None => (None, named.unwrap_or_default()),
        };
        for scheme in pieces.into_iter().chain(scheme) {
            all.extend(std::mem::take(&mut current).finish());
            current.scheme = scheme.split_ascii_whitespace().next().unwrap_or_default();
        }
        let Some((_, value, after)) = found else { break };
        match name.to_ascii_lowercase().as_str() {
            "realm" => current.realm = Some(value),
            "service" => current.service = Some(value),
            _ => {}
        }
        rest = after;
    }
    all.extend(current.finish());
    all
}

/// The first `name="value"`, and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    let (name, rest) = (name.trim_matches([' ', ',', '\t']), rest.trim_start());
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(',').unwrap_or(rest.len());
        return Some((name, rest[..end].trim_end().to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((name, value, &quoted[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_challenges_a_token_is_preferred() {
        let token = Some(Challenge::Bearer { realm: "https://a.test".to_owned(), service: None });
        for headers in [
            &["Basic realm=\"r\"", "Bearer realm=\"https://a.test\""][..],
            &["Bearer realm=\"https://a.test\"", "Basic realm=\"r\""],
            &["Basic realm=\"r\", Bearer realm=\"https://a.test\""],
            &["Basic realm=\"a, Bearer b\", Bearer realm=https://a.test, Basic"],
            &["Negotiate, Basic, Bearer realm=\"https://a.test\""],
        ] {
            assert_eq!(preferred(headers.iter().copied()), token, "{headers:?}");
        }
        for headers in [
            &["Negotiate", "Basic realm=\"r\""][..],
            &["Negotiate, Basic"],
            &["Digest realm=\"x, Bearer realm=y\", Basic realm=\"r\", charset=\"UTF-8\""],
            &["Bearer service=\"x\", Basic realm=\"r\""],
        ] {
            assert_eq!(preferred(headers.iter().copied()), Some(Challenge::Basic), "{headers:?}");
        }
        assert_eq!(preferred([].into_iter()), None);
    }

    #[test]
    fn a_challenge_is_read_as_registries_write_it() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (header, wanted) in [
            ("Basic realm=\"r\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.test/token\",service=\"registry.test\",scope=\"repository:a,b:pull\"",
                bearer("https://auth.test/token", Some("registry.test")),
            ),
            ("bearer service=x , realm=https://y.test/t", bearer("https://y.test/t", Some("x"))),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None)),
            ("Bearer service=\"x\"", None),
            ("Bearer realm=\"never closed", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(preferred([header].into_iter()), wanted, "{header}");
        }
    }
}
