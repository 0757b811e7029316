//! Amounts for people, who want the first digits.

use banger_protocol::size::ByteSize;
use std::time::Duration;

/// `1.2 s`, `3 min 4 s`, `2 h 5 min`, `4 d 1 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f32()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// In the largest unit of which there is a whole one, to a tenth.
pub(crate) fn rounded(size: ByteSize) -> String {
    let bytes = size.as_bytes();
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        // A tenth of a unit is told; the wholes fit 53 bits however many there are.
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        for (millis, words) in [
            (0, "0.0 s"),
            (1_234, "1.2 s"),
            (184_000, "3 min 4 s"),
            (7_500_000, "2 h 5 min"),
            (349_200_000, "4 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), words);
        }
    }

    #[test]
    fn a_size_has_its_largest_unit() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (300 << 20, "300.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(rounded(ByteSize::bytes(bytes)), words);
        }
    }
}
