//! What systemd holds the services to, against what their units say.
//!
//! A unit is a text, and what is in force is what systemd made of it together with everybody's drop-ins, as it tells
//! itself.

use super::{pass, row};
use crate::process;
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};
use banger_system::units::{DROP_IN, confinement};
use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const SERVICES: [&str; 2] = ["bangerd.service", "bangerd-root.service"];
/// How long systemd may take to tell about one.
const ANSWER: Duration = Duration::from_secs(5);
/// Of each of these systemd tells what it came to on this host, which a unit does not say: only that there is one counts.
const EXPANDED: [&str; 1] = ["SystemCallFilter"];

pub(super) fn rows() -> Vec<DoctorRow> {
    SERVICES.iter().map(|unit| judge(unit, show(SYSTEMCTL, unit, ANSWER))).collect()
}

/// What it tells of a unit is shorter than a pipe holds, so that it can end before it is read.
fn show(systemctl: &str, unit: &str, limit: Duration) -> Result<String, String> {
    let directives: Vec<&str> = confinement(unit).into_iter().map(|(directive, _)| directive).collect();
    let properties = format!("--property=NeedDaemonReload,DropInPaths,{}", directives.join(","));
    #[expect(
        clippy::disallowed_methods,
        reason = "an absolute path, words of our own, a cleared environment"
    )]
    let mut command = Command::new(systemctl);
    command.args(["show", "--no-pager", &properties, "--", unit]).env_clear().env("LC_MESSAGES", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: io::Error| format!("{systemctl}: {error}");
    let mut child = command.spawn().map_err(failed)?;
    if process::identify(child.id()).is_some_and(|asked| !process::ends_within(asked, limit)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{systemctl} did not answer within {limit:?}"));
    }
    let output = child.wait_with_output().map_err(failed)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Pure.
fn judge(unit: &str, told: Result<String, String>) -> DoctorRow {
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let finding = format!("systemd did not report its restrictions: {error}");
            return row(Verdict::Warn, unit, finding, None);
        }
    };
    // What has several values is told in several lines.
    let mut values = BTreeMap::<&str, String>::new();
    for (name, value) in told.lines().filter_map(|line| line.split_once('=')) {
        let all = values.entry(name).or_default();
        all.push_str(if all.is_empty() { "" } else { " " });
        all.push_str(value);
    }
    let value = |name: &str| values.get(name).map(String::as_str);
    if value("NeedDaemonReload") == Some("yes") {
        let hint = format!("sudo systemctl daemon-reload, then {}", banger_system::RESTART);
        return row(
            Verdict::Fail,
            unit,
            "its files have changed, but systemd uses the old ones",
            Some(&hint),
        );
    }
    let differs = |(directive, words): (&'static str, Vec<&'static str>)| {
        let found = value(directive)?;
        (!is_in_force(directive, &words, found)).then(|| format!("{directive}={found}"))
    };
    let wrong: Vec<String> = confinement(unit).into_iter().filter_map(differs).collect();
    if wrong.is_empty() {
        return pass(unit, "all restrictions of its unit are in force");
    }
    row(
        Verdict::Fail,
        unit,
        format!("restrictions of its unit are not in force: {}", wrong.join(", ")),
        Some(&back_in_force(unit, value("DropInPaths").unwrap_or_default())),
    )
}

/// What puts a unit's own restrictions in force again. Only files that an administrator made for this very unit are
/// named to be removed: others are a package's, or hold for other services too.
fn back_in_force(unit: &str, drop_ins: &str) -> String {
    let others = drop_ins.split(' ').filter(|path| !path.is_empty() && !path.ends_with(DROP_IN));
    let of_an_administrator = |path: &&str| {
        let folders = ["/etc", "/run"].map(|root| format!("{root}/systemd/system/{unit}.d/"));
        folders.iter().any(|folder| path.starts_with(folder))
    };
    let (removable, foreign): (Vec<&str>, Vec<&str>) = others.partition(of_an_administrator);
    match (removable.is_empty(), foreign.is_empty()) {
        (false, _) => format!("sudo rm {} && sudo banger system install", removable.join(" ")),
        (true, true) => "sudo banger system install".to_owned(),
        (true, false) => format!(
            "`systemctl cat {unit}` shows which file changes them; `sudo systemctl edit {unit}` can change them back"
        ),
    }
}

/// What systemd knows nothing of is not told; what it tells has the same words in some order.
fn is_in_force(directive: &str, words: &[&str], found: &str) -> bool {
    if EXPANDED.contains(&directive) {
        return !found.is_empty();
    }
    let normal = |word: &str| -> Vec<String> {
        match word {
            // systemd.resource-control(5).
            "any" => ["::/0", "0.0.0.0/0"].map(str::to_owned).to_vec(),
            _ => vec![word.to_ascii_lowercase()],
        }
    };
    let set = |words: &mut dyn Iterator<Item = &str>| {
        let mut all: Vec<String> = words.flat_map(normal).collect();
        all.sort();
        all.dedup();
        all
    };
    // ProtectClock= has the clock be read (systemd.exec(5)).
    let found = if directive == "DeviceAllow" { found.replace("char-rtc r ", "") } else { found.to_owned() };
    set(&mut words.iter().copied()) == set(&mut found.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd tells of a unit that is as it should be, but for this.
    fn told(unit: &str, but: &[(&str, &str)]) -> String {
        let usual = [("NeedDaemonReload", "no".to_owned()), ("DropInPaths", format!("/etc/x/{DROP_IN}"))];
        let confined = confinement(unit).into_iter().map(|(name, words)| (name, words.join(" ")));
        let with = |(name, value): (&str, String)| {
            let value =
                but.iter().find(|(wrong, _)| *wrong == name).map_or(value, |(_, value)| (*value).to_owned());
            format!("{name}={value}\n")
        };
        usual.into_iter().chain(confined).map(with).collect()
    }

    #[test]
    fn whatever_is_not_in_force_is_named_with_who_changed_it() {
        for unit in SERVICES {
            assert_eq!(judge(unit, Ok(told(unit, &[]))).verdict, Verdict::Pass, "{unit}");
            for (directive, words) in confinement(unit) {
                let other = if words.is_empty() { "cap_sys_admin" } else { "" };
                let found = judge(unit, Ok(told(unit, &[(directive, other)])));
                assert_eq!(found.verdict, Verdict::Fail, "{directive}");
                assert!(found.finding.contains(directive), "{}", found.finding);
            }
        }
        let hint = |drop_ins: &str| {
            let but = [("NoNewPrivileges", "no"), ("DropInPaths", drop_ins)];
            judge(SERVICES[0], Ok(told(SERVICES[0], &but))).hint.unwrap()
        };
        let own = format!("/etc/systemd/system/bangerd.service.d/{DROP_IN}");
        let all_services = "/usr/lib/systemd/system/service.d/10-timeout-abort.conf";
        let loose = "/etc/systemd/system/bangerd.service.d/loose.conf";
        let passing = "/run/systemd/system/bangerd.service.d/50-x.conf";
        assert_eq!(hint(&own), "sudo banger system install");
        assert_eq!(
            hint(&format!("{all_services} {own} {loose}")),
            format!("sudo rm {loose} && sudo banger system install")
        );
        assert_eq!(
            hint(&format!("{passing} {loose}")),
            format!("sudo rm {passing} {loose} && sudo banger system install")
        );
        for others in [
            all_services,
            "/etc/systemd/system/service.d/x.conf",
            "/usr/lib/systemd/system/bangerd.service.d/x.conf",
        ] {
            let hint = hint(&format!("{others} {own}"));
            assert!(!hint.contains("rm ") && hint.contains("systemctl cat bangerd.service"), "{hint}");
            assert!(hint.contains("systemctl edit bangerd.service"), "{hint}");
        }
        let stale = told(SERVICES[0], &[("NeedDaemonReload", "yes")]);
        assert!(judge(SERVICES[0], Ok(stale)).hint.is_some_and(|hint| hint.contains("daemon-reload")));
        assert_eq!(judge(SERVICES[0], Err("no bus".to_owned())).verdict, Verdict::Warn);
        let capabilities = |first: &str| {
            let told = told(SERVICES[1], &[("CapabilityBoundingSet", first)]);
            let rest =
                confinement(SERVICES[1]).into_iter().find(|(name, _)| *name == "CapabilityBoundingSet");
            let rest = rest.map_or_else(String::new, |(_, words)| words[1..].join(" "));
            judge(SERVICES[1], Ok(format!("{told}CapabilityBoundingSet={rest}\n"))).verdict
        };
        assert_eq!(capabilities("cap_net_admin"), Verdict::Pass, "told in two lines");
        assert_eq!(capabilities("cap_sys_rawio"), Verdict::Fail);
    }

    #[test]
    fn a_systemd_that_never_answers_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let systemctl = folder.path().join("systemctl");
        std::fs::write(&systemctl, "#!/bin/sh\nexec sleep 30\n").unwrap();
        std::fs::set_permissions(&systemctl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let began = std::time::Instant::now();
        let told = show(&systemctl.display().to_string(), SERVICES[0], Duration::from_millis(200));
        assert!(told.is_err_and(|error| error.contains("did not answer")));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn the_same_words_in_another_order_or_case_are_in_force() {
        for (directive, words, found, expected) in [
            ("CapabilityBoundingSet", &["CAP_KILL", "CAP_CHOWN"][..], "cap_chown cap_kill", true),
            ("CapabilityBoundingSet", &["CAP_KILL"], "cap_chown cap_kill", false),
            ("CapabilityBoundingSet", &[], "", true),
            ("IPAddressDeny", &["any"], "::/0 0.0.0.0/0", true),
            ("IPAddressDeny", &["any"], "0.0.0.0/0", false),
            ("DeviceAllow", &["/dev/kvm", "rwm"], "char-rtc r /dev/kvm rwm", true),
            ("DeviceAllow", &["/dev/kvm", "rwm"], "char-rtc r /dev/kvm rwm /dev/sda rwm", false),
            ("DeviceAllow", &["/dev/kvm", "rwm"], "char-rtc rw /dev/kvm rwm", false),
            ("SystemCallFilter", &["@system-service"], "read write", true),
            ("SystemCallFilter", &["@system-service"], "", false),
        ] {
            assert_eq!(is_in_force(directive, words, found), expected, "{directive} {found}");
        }
    }
}
