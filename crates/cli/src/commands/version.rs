use crate::failure::Outcome;
use crate::printer;
use banger_protocol::{PROTOCOL_VERSION, VERSION};
use serde::Serialize;

/// Show the version of this program and of its protocol.
///
/// `banger version` is for reports and scripts; `banger daemon status` shows the running daemon's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON, for programs.
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
