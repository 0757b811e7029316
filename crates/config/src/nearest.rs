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

/// The known word that somebody meant who mistyped it: the one with the fewest letters too many, too few, wrong or
/// exchanged, up to one in three; or else the only one that was begun.
pub fn mistyped<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let slips = |known: &'a str| (strsim::damerau_levenshtein(word, known), known);
    let most = word.chars().count().div_ceil(3);
    let nearest = known.clone().into_iter().map(slips).min_by_key(|(count, _)| *count);
    let mut begun = known.into_iter().filter(|known| !word.is_empty() && known.starts_with(word));
    match nearest {
        Some((count, known)) if count <= most => Some(known),
        _ => begun.next().filter(|_| begun.next().is_none()),
    }
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

    #[test]
    fn a_slip_of_the_keyboard_is_seen_through() {
        let flags = ["rm", "kernel", "vcpu", "memory", "name", "nat"];
        for (word, meant) in [
            ("rn", Some("rm")),
            ("cpus", Some("vcpu")),
            ("memroy", Some("memory")),
            ("mem", Some("memory")),
            ("k", Some("kernel")),
            ("volume", None),
            ("", None),
        ] {
            assert_eq!(mistyped(word, flags), meant, "{word:?}");
        }
        assert_eq!(mistyped("strat", ["create", "restart", "stats", "start"]), Some("start"));
        assert_eq!(mistyped("sta", ["status", "stats"]), None);
    }
}
