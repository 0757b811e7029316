use crate::failure::Outcome;
use crate::printer;
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use serde::Serialize;

/// Show version information
///
/// `banger version` prints the version of this program, its protocol, and its architecture; `banger daemon status` prints
/// the version of the running daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    protocol: u32,
    architecture: &'static str,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let version =
            Version { version: VERSION, protocol: PROTOCOL_VERSION, architecture: std::env::consts::ARCH };
        if self.json {
            printer::json(&version)?;
        } else {
            printer::line(format_args!("banger        {}", version.version))?;
            printer::line(format_args!("protocol      {}", version.protocol))?;
            printer::line(format_args!("architecture  {}", version.architecture))?;
        }
        Ok(0)
    }
}
