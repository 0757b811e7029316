//! Points in time, told the way people do.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long ago an RFC 3339 time was; the text itself when it is none.
pub(crate) fn age(since: &str) -> String {
    OffsetDateTime::parse(since, &Rfc3339).map_or_else(
        |_| since.to_owned(),
        |then| in_words((OffsetDateTime::now_utc() - then).whole_seconds()),
    )
}

fn in_words(seconds: i64) -> String {
    let (count, unit) = match seconds {
        i64::MIN..5 => return "just now".to_owned(),
        5..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_whole_unit() {
        for (seconds, words) in [
            (-3, "just now"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (86_400 * 400, "400 days ago"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
        assert_eq!(age("yesterday"), "yesterday");
    }
}
