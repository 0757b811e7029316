//! Stands in for `vhost-device-vsock`, with a guest behind it.
#![expect(clippy::print_stderr, reason = "complains where the real one complains")]

use banger_fakes::guest::{Sockets, run};
use std::error::Error as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Sockets::parse(std::env::args().skip(1)).and_then(|sockets| run(&sockets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("vhost-device-vsock: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}
