//! Prints the daemon's interface as an OpenRPC document, see [`banger_protocol::openrpc`].

use std::io::{Error, Write as _, stdout};

fn main() -> Result<(), Error> {
    writeln!(stdout(), "{:#}", banger_protocol::openrpc::document())
}
