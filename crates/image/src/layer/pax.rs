//! PAX extended header records, read strictly.
//!
//! tar-core refuses times before 1970 unless it is told to be lenient, and leniency would let a damaged size or
//! owner pass as well. So it is lenient there and exact here, where every number that matters is read again.

use super::MalformedTar;
use crate::tree::Mtime;

/// The values of one extended header that replace what the plain header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Mtime>,
}

impl Overrides {
    pub(super) fn read(mut data: &[u8]) -> Result<Self, MalformedTar> {
        let mut overrides = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or(MalformedTar::Record)?;
            data = rest;
            match key {
                b"size" => overrides.size = number(value, "size")?,
                b"uid" => overrides.uid = number(value, "uid")?,
                b"gid" => overrides.gid = number(value, "gid")?,
                b"mtime" => overrides.mtime = time(value)?,
                _ => {}
            }
        }
        Ok(overrides)
    }
}

/// Splits `<length> <key>=<value>\n` off the front; the length counts the whole record, itself included.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|&byte| byte == b' ')?;
    let length: usize = digits(&data[..space])?.try_into().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An empty value takes the record back, as POSIX has it.
fn number(value: &[u8], key: &'static str) -> Result<Option<u64>, MalformedTar> {
    match value {
        b"" => Ok(None),
        _ => digits(value).map(Some).ok_or(MalformedTar::Value { key }),
    }
}

fn time(value: &[u8]) -> Result<Option<Mtime>, MalformedTar> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or(MalformedTar::Value { key: "mtime" })
}

/// Decimal seconds with any number of fraction digits. Time runs forward from the floor: -1.25 is -2 s + 0.75 s.
fn decimal(value: &[u8]) -> Option<Mtime> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds = i64::try_from(digits(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos =
        (0..9).fold(0u32, |nanos, i| nanos * 10 + fraction.get(i).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Mtime { seconds, nanos },
        (true, 0) => Mtime { seconds: -seconds, nanos: 0 },
        (true, _) => Mtime { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_survive_and_time_before_1970_counts_forward() {
        let cases: [(&[u8], i64, u32); 6] = [
            (b"5", 5, 0),
            (b"5.", 5, 0),
            (b"1700000000.123456789", 1_700_000_000, 123_456_789),
            (b"1.5000000009", 1, 500_000_000),
            (b"-1", -1, 0),
            (b"-1.25", -2, 750_000_000),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(decimal(text), Some(Mtime { seconds, nanos }));
        }
        for bad in [&b"x"[..], b"1.x", b"--1", b"", b".5", b"99999999999999999999"] {
            assert_eq!(decimal(bad), None);
        }
    }

    #[test]
    fn a_value_may_hold_newlines_and_equals_signs() {
        let (key, value, rest) = record(b"11 k=a\nb=c\n10 size=7\n").unwrap();
        assert_eq!((key, value, rest), (&b"k"[..], &b"a\nb=c"[..], &b"10 size=7\n"[..]));
    }

    #[test]
    fn damaged_records_and_numbers_are_errors_not_guesses() {
        for data in
            [&b"no length"[..], b"5 a=b", b"6 a=b\nx", b"999 a=b\n", b"4 =\n\n9", b"5 ab\n", b"0 a=b\n"]
        {
            assert!(matches!(Overrides::read(data), Err(MalformedTar::Record)), "{data:?}");
        }
        for (data, wanted) in [
            (&b"11 size=-1\n"[..], "size"),
            (b"10 uid=0x\n", "uid"),
            (b"9 gid= 1\n", "gid"),
            // What a number's own parser would take.
            (b"9 uid=+5\n", "uid"),
        ] {
            let error = Overrides::read(data).unwrap_err();
            assert!(matches!(error, MalformedTar::Value { key } if key == wanted), "{error:?}");
        }
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_an_empty_one_takes_it_back() {
        let records = b"10 size=1\n10 size=2\n9 uid=12\n7 uid=\n11 mtime=5\n9 mtime=\n";
        let overrides = Overrides::read(records).unwrap();
        assert_eq!(overrides, Overrides { size: Some(2), ..Overrides::default() });
    }
}
