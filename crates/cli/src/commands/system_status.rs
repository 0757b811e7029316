use crate::failure::{FAILED, Outcome};
use crate::printer;
use crate::system::install::{SetUpError, ask};
use crate::system::layout::{self, Origin};
use crate::system::systemd;
use banger_protocol::VERSION;
use banger_system::{Install, UNITS};
use serde::Serialize;

/// Show the state of the installed services
///
/// `banger system status` exits with 1 when there is a problem. `sudo banger system restart` restarts the services, and
/// `sudo banger system install` repairs changed or missing files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON; `null` when banger is not installed
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    owner: String,
    versions: Versions,
    units: Vec<Unit>,
    vms_running: Option<u64>,
    /// What is wrong, a sentence each.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Versions {
    command: &'static str,
    installed: String,
    daemon: Option<String>,
}

#[derive(Debug, Serialize)]
struct Unit {
    name: String,
    state: String,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let Some(install) = Install::read().map_err(SetUpError::Install)? else {
            if self.json {
                printer::json(&None::<Report>)?;
            } else {
                printer::line("not installed; install it with `sudo banger system install`")?;
            }
            return Ok(FAILED);
        };
        let report = look(&install)?;
        if self.json {
            printer::json(&report)?;
        } else {
            printer::data(&shown(&report))?;
        }
        Ok(if report.problems.is_empty() { 0 } else { FAILED })
    }
}

fn look(install: &Install) -> Result<Report, SetUpError> {
    // Only the owner and root may ask. Asking comes first: it starts what starts when it is asked.
    let may_ask = [0, install.owner.uid].contains(&rustix::process::geteuid().as_raw());
    let asked = may_ask.then(ask);
    let names = UNITS.iter().flat_map(|unit| ["socket", "service"].map(|kind| format!("{unit}.{kind}")));
    let units = names.map(|name| Ok(Unit { state: systemd::state_of(&name)?, name }));
    let units: Vec<Unit> = units.collect::<Result<_, SetUpError>>()?;
    let origin = Origin::installed(install);
    let mut problems: Vec<String> = units
        .iter()
        .filter(|unit| unit.state != "active")
        .map(|unit| format!("{} is {}: `{}`", unit.name, unit.state, banger_system::RESTART))
        .collect();
    let drift = layout::drift(&layout::texts(&origin, &install.owner));
    problems.extend(
        drift.iter().map(|(path, drift)| {
            format!("{} {}: `sudo banger system install`", path.display(), drift.as_str())
        }),
    );
    let status = match asked {
        Some(Ok(status)) => Some(status),
        Some(Err(error)) => {
            problems.push(format!("{error}: `{}`", banger_system::RESTART));
            None
        }
        None => None,
    };
    let daemon = status.as_ref().map(|status| status.version.clone());
    problems.extend(skew(VERSION, &install.version, daemon.as_deref()));
    Ok(Report {
        owner: install.owner.name.clone(),
        versions: Versions { command: VERSION, installed: install.version.clone(), daemon },
        units,
        vms_running: status.map(|status| status.vms_running),
        problems,
    })
}

/// Programs of different builds. Pure.
fn skew(command: &str, installed: &str, daemon: Option<&str>) -> Option<String> {
    let daemon = daemon.unwrap_or(installed);
    (command != installed || daemon != installed).then(|| {
        format!(
            "this command is version {command}, {installed} was installed and {daemon} runs: `sudo banger system install`"
        )
    })
}

fn shown(report: &Report) -> String {
    let Report { owner, versions, units, vms_running, problems } = report;
    let mut lines = vec![("owner".to_owned(), owner.clone())];
    let daemon = versions.daemon.as_deref().unwrap_or("unknown");
    lines.push((
        "version".to_owned(),
        format!("{} installed, {daemon} running, {} here", versions.installed, versions.command),
    ));
    lines.extend(units.iter().map(|unit| (unit.name.clone(), unit.state.clone())));
    lines.extend(vms_running.iter().map(|count| ("VMs running".to_owned(), count.to_string())));
    lines.extend(problems.iter().map(|problem| ("problem".to_owned(), problem.clone())));
    lines.iter().map(|(name, value)| format!("{name:<22}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_one_build_are_no_problem_and_others_are() {
        for (command, installed, daemon, is_problem) in [
            ("1", "1", Some("1"), false),
            ("1", "1", None, false),
            ("2", "1", Some("1"), true),
            ("1", "1", Some("2"), true),
            ("2", "2", Some("1"), true),
        ] {
            assert_eq!(
                skew(command, installed, daemon).is_some(),
                is_problem,
                "{command} {installed} {daemon:?}"
            );
        }
    }
}
