//! Prints the folders of the layouts that guests are made of, a line each, after making those that this machine does not
//! have. For whoever brings them to a machine without a network, where they have to lie at the same place below the cache of
//! the tests.

#![expect(clippy::print_stdout, reason = "it prints paths")]

use banger_e2e::{Debian, Sandbox};

fn main() {
    let sandbox = Sandbox::empty();
    for debian in [Debian::WithDocker, Debian::WithoutInit] {
        println!("{}", debian.layout(&sandbox).display());
    }
}
