//! Prints the folder with the image and the kernel that guest tests boot, after making them if this machine has
//! none. For whoever brings them to another machine, where `BANGER_E2E_TEMPLATE` then names them.

#![expect(clippy::print_stdout, reason = "it prints one path")]

fn main() -> anyhow::Result<()> {
    println!("{}", banger_e2e::guest_template()?.display());
    Ok(())
}
