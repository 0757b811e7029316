//! Programs beside VMMs: banger's own, and the host's tools.

use super::{pass, row};
use crate::packages::install;
use crate::station::Station;
use crate::vm::program::find;
use banger_protocol::daemon_api::system::{DoctorRow, Verdict};

/// A tool, what it is when it is missing, and what does not work then.
const TOOLS: [(&str, Verdict, &str); 6] = [
    (
        "nft",
        Verdict::Fail,
        "nothing would isolate guests from the host and from each other, so no VM can start",
    ),
    ("pasta", Verdict::Warn, "`--nat` is not available"),
    ("mmdebstrap", Verdict::Warn, "images and kernels cannot be built"),
    ("ssh", Verdict::Warn, "`banger vm ssh` falls back to the guest agent, and editors cannot connect"),
    ("git", Verdict::Warn, "repositories cannot be copied into VMs"),
    ("resize2fs", Verdict::Warn, "work disks have the image's size; `--disk-size` is not available"),
];

pub(super) fn rows(station: &Station) -> Vec<DoctorRow> {
    let mut rows = vec![agent()];
    // The installed system's guests go out through the host itself.
    let is_needed = |tool: &str| matches!(station, Station::Local) || tool != "pasta";
    let tools = TOOLS.iter().filter(|(tool, ..)| is_needed(tool));
    rows.extend(tools.map(|(tool, missing, without)| judge(tool, *missing, without, find(tool).as_deref())));
    rows.extend(sub_ids());
    rows
}

fn agent() -> DoctorRow {
    let path = crate::find_agent();
    match crate::kernel::read_agent(&path) {
        Ok(_) => pass("guest agent", path.display().to_string()),
        Err(error) => row(
            Verdict::Fail,
            "guest agent",
            error.to_string(),
            Some("reinstall banger: its programs must be in the same directory"),
        ),
    }
}

fn judge(tool: &str, missing: Verdict, without: &str, found: Option<&std::path::Path>) -> DoctorRow {
    match found {
        Some(path) => pass(tool, path.display().to_string()),
        None => row(
            missing,
            tool,
            format!("not found: {without}"),
            Some(&format!("install it: {}", install(tool))),
        ),
    }
}

/// What an ordinary user builds images with: a range of ids of their own, and what maps them. Root needs neither.
fn sub_ids() -> Option<DoctorRow> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return None;
    }
    let subject = "sub-ids";
    if find("newuidmap").is_none() {
        let hint = format!("install it: {}", install("newuidmap"));
        return Some(row(
            Verdict::Warn,
            subject,
            "newuidmap is not installed: images cannot be built",
            Some(&hint),
        ));
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let name = user_name(&read("/etc/passwd"), uid.as_raw());
    let missing = ["/etc/subuid", "/etc/subgid"]
        .into_iter()
        .find(|file| !has_range(&read(file), uid.as_raw(), name.as_deref()));
    Some(match missing {
        None => pass(subject, "your user has a range"),
        Some(file) => {
            let hint =
                "add one: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`";
            row(
                Verdict::Warn,
                subject,
                format!("{file} has no range for your user: images cannot be built"),
                Some(hint),
            )
        }
    })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let line =
        passwd.lines().find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(uid));
    line.and_then(|line| line.split(':').next()).map(str::to_owned)
}

/// Whether a file as subuid(5) has a line for this user, by name or by number.
fn has_range(text: &str, uid: u32, name: Option<&str>) -> bool {
    let owners = text.lines().filter_map(|line| line.split(':').next());
    owners.into_iter().any(|owner| Some(owner) == name || owner.parse() == Ok(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_told_with_what_does_not_work_and_how_to_get_it() {
        for (tool, verdict, without) in TOOLS {
            let missing = judge(tool, verdict, without, None);
            assert_eq!(missing.verdict, verdict);
            assert!(missing.finding.contains(without));
            assert!(missing.hint.is_some_and(|hint| hint.contains("sudo ")));
        }
        assert_eq!(
            judge("git", Verdict::Fail, "x", Some(std::path::Path::new("/usr/bin/git"))).verdict,
            Verdict::Pass
        );
    }

    #[test]
    fn a_range_is_a_users_by_name_or_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        let name = user_name(passwd, 1000);
        assert_eq!(name.as_deref(), Some("ada"));
        for (text, expected) in
            [("ada:100000:65536\n", true), ("1000:1:2", true), ("adam:1:2\n", false), ("", false)]
        {
            assert_eq!(has_range(text, 1000, name.as_deref()), expected, "{text:?}");
        }
        assert!(!has_range("ada:1:2", 1001, user_name(passwd, 1001).as_deref()));
    }
}
