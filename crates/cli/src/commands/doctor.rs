use crate::daemon::Daemon;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::system::{Doctor, Verdict};

/// Look for what would keep banger from working on this machine; changes nothing.
///
/// `banger doctor` prints a line per finding with what to do about it; the exit code is 1 when something fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let report = Daemon::connect()?.call(&Doctor {})?;
        if self.json {
            printer::json(&report)?;
        } else {
            for row in &report.rows {
                let verdict = match row.verdict {
                    Verdict::Pass => "PASS",
                    Verdict::Warn => "WARN",
                    Verdict::Fail => "FAIL",
                };
                printer::line(format_args!("{verdict}  {}: {}", row.subject, row.finding))?;
                if let Some(hint) = &row.hint {
                    printer::line(format_args!("      hint: {hint}"))?;
                }
            }
        }
        let failed = report.rows.iter().any(|row| row.verdict == Verdict::Fail);
        Ok(if failed { FAILED } else { 0 })
    }
}
