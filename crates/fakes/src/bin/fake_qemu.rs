//! Stands in for `qemu-system-x86_64`.
#![expect(clippy::print_stderr, reason = "complains where QEMU complains")]

use banger_fakes::qemu::{CommandLine, run};
use std::error::Error as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match CommandLine::parse(std::env::args().skip(1)).and_then(|line| run(&line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("qemu-system-x86_64: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}
