//! How an example becomes an input.

/// Longer than any example; what grows stops there.
const LONGEST: usize = 256 << 10;
/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];
/// Bytes and words that mean something to somebody.
const WORDS: [&[u8]; 22] = [
    b"\0",
    b"\n",
    b" ",
    b"/",
    b"..",
    b"../",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"-1",
    b"=",
    b"\xff",
    b"\xc3\x28",
    b"null",
    b"1e999",
    b"18446744073709551615",
    b"9223372036854775808",
    b"\\u0000",
    b":",
];

/// The same numbers every time (xorshift64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `most`, which may be zero: then zero.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % (most.max(1) as u64)).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// An example, broken in one place or in several.
pub(crate) fn input(examples: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut input = if examples.is_empty() { Vec::new() } else { random.one_of(examples).to_vec() };
    // Mostly few: what is broken everywhere is refused by the first check.
    let times = 1 + random.below(3) * random.below(5);
    for _ in 0..times {
        break_once(&mut input, examples, random);
    }
    input.truncate(LONGEST);
    input
}

fn break_once(input: &mut Vec<u8>, examples: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let length =
        random.below(input.len() - at.min(input.len()) + 1).min(random.one_of(&[1, 4, 16, 512, 8192]));
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
        2 => input.truncate(at),
        3 => drop(input.drain(at..at + length)),
        4 => {
            let again = input[at..at + length].to_vec();
            input.splice(at..at, again);
        }
        5 => {
            let word = random.one_of(&WORDS);
            input.splice(at..at, word.iter().copied());
        }
        6 => {
            let edge = random.one_of(&EDGES);
            let (little, big) = (edge.to_le_bytes(), edge.to_be_bytes());
            let width = random.one_of(&[1, 2, 4, 8]);
            let bytes = if random.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
            overwrite(input, at, bytes);
        }
        7 => digits(input, at, random),
        8 if !examples.is_empty() => {
            let other = random.one_of(examples);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => overwrite(input, at, &vec![random.one_of(b"\0\xffA 0"); length]),
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input[at..].iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// Another number where one is written in digits, which is how archives and texts have theirs.
fn digits(input: &mut [u8], from: usize, random: &mut Random) {
    let number = input[from..].iter_mut().skip_while(|byte| !byte.is_ascii_digit());
    for byte in number.take_while(|byte| byte.is_ascii_digit()) {
        *byte = b'0' + random.next().to_le_bytes()[0] % 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_neither_all_the_same_nor_endless() {
        let mut random = Random::new(7);
        let example = vec![b'x'; 4096];
        let inputs: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| input(&[&example, b"{\"a\": 1}", b""], &mut random)).collect();
        // A third begin with nothing, of which little can be made.
        assert!(inputs.len() > 500, "{} of 1000", inputs.len());
        assert!(inputs.iter().all(|input| input.len() <= LONGEST));
    }

    #[test]
    fn nothing_can_be_broken_as_well() {
        let mut random = Random::new(0);
        for _ in 0..1000 {
            let _ = input(&[], &mut random);
            let _ = input(&[b""], &mut random);
        }
    }
}
