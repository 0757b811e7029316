//! `banger-vsock-agent`: decides which of its two roles this process has.

use banger_guest_agent::causes::with_causes;
use banger_guest_agent::{boot, serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::run();
    }
    let word = std::env::args().nth(1);
    let outcome = match word.as_deref() {
        Some(serve::MARK_USABLE) => serve::mark_usable().map_err(|e| with_causes(&e)),
        Some(serve::SETTLE_IN) => boot::settle_in().map_err(|e| with_causes(&e)),
        Some(serve::UNTIL_MARKED) => serve::run(serve::Usable::WhenMarked).map_err(|e| with_causes(&e)),
        None => serve::run(serve::Usable::Now).map_err(|e| with_causes(&e)),
        Some(other) => Err(format!("unknown argument {other:?}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            boot::kernel_log(&message);
            ExitCode::FAILURE
        }
    }
}
