//! Stands in for `firecracker`.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "says and complains what Firecracker does")]

use banger_fakes::firecracker::{CommandLine, serve};
use std::error::Error as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let run = match CommandLine::parse(std::env::args().skip(1)) {
        Ok(CommandLine::Run(run)) => run,
        Ok(CommandLine::Version) => {
            print!("{}", CommandLine::version_text());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    match serve(&run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("Error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}
