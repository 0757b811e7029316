//! Names for VMs that were given none: an adjective and an animal.

use banger_protocol::names::VmName;

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brave", "brisk", "calm", "clever", "cosy", "crisp", "deft", "eager", "fair", "fleet",
    "gentle", "glad", "happy", "keen", "kind", "lively", "lucky", "mellow", "merry", "neat", "nimble",
    "proud", "quick", "quiet", "sunny", "swift", "tidy", "warm", "wise", "witty",
];

const ANIMALS: [&str; 32] = [
    "badger", "bear", "beaver", "bison", "crane", "deer", "dove", "eagle", "falcon", "ferret", "finch",
    "fox", "hare", "hawk", "heron", "ibex", "jay", "koala", "lark", "lemur", "lynx", "marten", "mole",
    "moose", "newt", "otter", "owl", "panda", "puffin", "raven", "seal", "wren",
];

/// A name nobody chose. `attempt` 0 gives two words; later ones add a number, so that a collision ends.
pub(super) fn generate(attempt: u32) -> VmName {
    let mut random = [0_u8; 2];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .expect("getrandom cannot fail for a few bytes after boot");
    let [adjective, animal] = random.map(|byte| usize::from(byte) % 32);
    let words = format!("{}-{}", ADJECTIVES[adjective], ANIMALS[animal]);
    let name = if attempt == 0 { words } else { format!("{words}-{}", attempt + 1) };
    name.parse().expect("two short words make a VM name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_words_is_a_name() {
        for adjective in ADJECTIVES {
            for animal in ANIMALS {
                assert!(format!("{adjective}-{animal}-99").parse::<VmName>().is_ok());
            }
        }
        assert!(generate(3).as_str().ends_with("-4"));
    }
}
