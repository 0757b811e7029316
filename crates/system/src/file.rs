//! The few forms of TOML that the install file is written in: `key = "text"`, `key = 7`, `key = true`, and comments.
//!
//! Everything else is refused, escapes in texts among it: what the file needs does without them, and a parser of the
//! whole language would be the largest thing that root runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why the file was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("line {line} is neither `key = value` nor a comment")]
    Line { line: usize },
    #[error("line {line} gives `{key}` a second time")]
    Twice { line: usize, key: String },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{key}` is not {expected}")]
    Value { key: &'static str, expected: &'static str },
    #[error("unknown key `{0}`")]
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u32),
    Truth(bool),
}

/// The pairs of a file, each to be taken once.
#[derive(Debug)]
pub(crate) struct Pairs(BTreeMap<String, Value>);

impl Pairs {
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        let mut pairs = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (key, value) = pair(content).ok_or(FileError::Line { line })?;
            if pairs.insert(key.to_owned(), value).is_some() {
                return Err(FileError::Twice { line, key: key.to_owned() });
            }
        }
        Ok(Self(pairs))
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<String, FileError> {
        self.optional_text(key)?.ok_or(FileError::Missing(key))
    }

    pub(crate) fn optional_text(&mut self, key: &'static str) -> Result<Option<String>, FileError> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(FileError::Value { key, expected: "a text in quotes" }),
        }
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<u32, FileError> {
        match self.0.remove(key).ok_or(FileError::Missing(key))? {
            Value::Number(number) => Ok(number),
            _ => Err(FileError::Value { key, expected: "a number" }),
        }
    }

    pub(crate) fn truth(&mut self, key: &'static str) -> Result<bool, FileError> {
        match self.0.remove(key).ok_or(FileError::Missing(key))? {
            Value::Truth(truth) => Ok(truth),
            _ => Err(FileError::Value { key, expected: "`true` or `false`" }),
        }
    }

    /// That nothing was left untaken.
    pub(crate) fn end(self) -> Result<(), FileError> {
        self.0.into_keys().next().map_or(Ok(()), |key| Err(FileError::Unknown(key)))
    }
}

fn pair(content: &str) -> Option<(&str, Value)> {
    let (key, value) = content.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return None;
    }
    let value = match value {
        "true" => Value::Truth(true),
        "false" => Value::Truth(false),
        _ => match value.strip_prefix('"') {
            Some(text) => Value::Text(text.strip_suffix('"').filter(|text| is_plain(text))?.to_owned()),
            None if value.bytes().all(|b| b.is_ascii_digit()) => Value::Number(value.parse().ok()?),
            None => return None,
        },
    };
    Some((key, value))
}

/// Whether a text can stand in the file as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c == '"' || c == '\\' || c.is_control())
}

/// Adds a line. Who writes texts has made sure that they are plain.
pub(crate) fn write(to: &mut String, key: &str, value: &Value) {
    let written = match value {
        Value::Text(text) => writeln!(to, "{key} = \"{text}\""),
        Value::Number(number) => writeln!(to, "{key} = {number}"),
        Value::Truth(truth) => writeln!(to, "{key} = {truth}"),
    };
    written.expect("a string takes whatever is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forms_that_are_written_are_understood() {
        let mut pairs = Pairs::parse("# why\n\na = \"b c\"\n n=7\nt = true\n").unwrap();
        assert_eq!(pairs.text("a"), Ok("b c".to_owned()));
        assert_eq!(pairs.number("n"), Ok(7));
        assert_eq!(pairs.truth("t"), Ok(true));
        assert_eq!(pairs.end(), Ok(()));
        for wrong in [
            "a",
            "a =",
            "= 1",
            "a = b",
            "a = 'b'",
            "a = \"b",
            "a = \"b\\n\"",
            "a = \"b\" # c",
            "a = -1",
            "A = 1",
            "[a]",
            "a.b = 1",
            "a = 99999999999",
            "a = \"b\" = \"c\"",
        ] {
            assert_eq!(Pairs::parse(wrong).unwrap_err(), FileError::Line { line: 1 }, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_given_once_is_of_its_kind_and_is_known() {
        let twice = Pairs::parse("a = 1\na = 2\n").unwrap_err();
        assert_eq!(twice, FileError::Twice { line: 2, key: "a".to_owned() });
        let mut pairs = Pairs::parse("a = 1\nb = 2\n").unwrap();
        assert!(matches!(pairs.text("a"), Err(FileError::Value { key: "a", .. })));
        assert_eq!(pairs.number("c"), Err(FileError::Missing("c")));
        assert_eq!(pairs.end(), Err(FileError::Unknown("b".to_owned())));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            let _ = Pairs::parse(&text);
        }
    }
}
