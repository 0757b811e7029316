use crate::daemon::examine;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::system::{SettingRow, SettingSource, Verdict};

/// Check this host and show how to fix problems
///
/// `banger doctor` prints PASS, WARN, or FAIL for each check, with a hint, and then every setting with its value and where
/// the value comes from. It changes nothing, and works without the daemon. The exit code is 1 when a check fails. When none
/// does, continue with `banger vm run --rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let report = examine()?;
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
            printer::line("")?;
            printer::table(["SETTING", "VALUE", "FROM"], report.settings.iter().map(setting))?;
        }
        let failed = report.rows.iter().any(|row| row.verdict == Verdict::Fail);
        Ok(if failed { FAILED } else { 0 })
    }
}

fn setting(row: &SettingRow) -> [String; 3] {
    let from = match (row.source, row.line) {
        (SettingSource::Config, Some(line)) => format!("config, line {line}"),
        (SettingSource::Config, None) => "config".to_owned(),
        (SettingSource::Host, _) => "host".to_owned(),
        (SettingSource::BuiltIn, _) => "built in".to_owned(),
    };
    [row.key.clone(), row.value.clone().unwrap_or_else(|| "-".to_owned()), from]
}
