//! Prints the folder of the layout that has Docker in it, after making it if this machine has none. For whoever brings
//! it to a machine without a network, where it has to lie at the same place below the cache of the tests.

#![expect(clippy::print_stdout, reason = "it prints one path")]

use banger_e2e::{Debian, Sandbox};

fn main() {
    println!("{}", Debian::WithDocker.layout(&Sandbox::empty()).display());
}
