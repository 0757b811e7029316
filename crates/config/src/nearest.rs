//! What somebody probably meant who misspelt it.

/// Below this, two words have little in common.
const ALIKE: f64 = 0.8;

/// The known word that is nearest to this one, however far that is.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(word, known);
    known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The known word that this one is so near to that it was probably meant. It may be for names of all kinds.
pub fn probably_meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, known).filter(|known| strsim::jaro_winkler(word, known) >= ALIKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_was_probably_meant() {
        let known = ["debian-bookworm", "alpine", "dev"];
        for (word, meant) in [
            ("debain-bookworm", Some("debian-bookworm")),
            ("debian-bokworm", Some("debian-bookworm")),
            ("deb", Some("dev")),
            ("alpin", Some("alpine")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(probably_meant(word, known), meant, "{word:?}");
        }
        assert_eq!(probably_meant("x", []), None);
    }
}
