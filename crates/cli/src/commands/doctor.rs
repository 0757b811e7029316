use crate::daemon::examine;
use crate::failure::{FAILED, Outcome};
use crate::printer;
use banger_protocol::daemon_api::system::{SettingRow, SettingSource, Verdict};

/// Look for what would keep banger from working on this machine; changes nothing.
///
/// `banger doctor` prints a line per finding with what to do about it, and every setting with who chose it. It works
/// without the daemon too. The exit code is 1 when something fails; when nothing does, go on with `banger vm run --rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON, for programs.
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
