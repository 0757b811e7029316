//! The units' texts, what each host adds to them, and what they promise. Pure.
//!
//! The units themselves say nothing of the host, so that a package can bring them; whose the services are is in
//! drop-ins.

use crate::Owner;

/// In the units, where banger's programs are.
const PROGRAMS: &str = "@PROGRAMS@";

const TEMPLATES: [(&str, &str); 4] = [
    ("bangerd.socket", include_str!("../../../packaging/systemd/bangerd.socket")),
    ("bangerd.service", include_str!("../../../packaging/systemd/bangerd.service")),
    ("bangerd-root.socket", include_str!("../../../packaging/systemd/bangerd-root.socket")),
    ("bangerd-root.service", include_str!("../../../packaging/systemd/bangerd-root.service")),
];

/// What is set in a service and keeps nobody from anything (systemd.exec(5), systemd.service(5)).
const ORDINARY: [&str; 15] = [
    "Type",
    "ExecStart",
    "StandardInput",
    "StandardOutput",
    "StandardError",
    "Environment",
    "Restart",
    "RestartSec",
    "KillMode",
    "TimeoutStopSec",
    "LimitNOFILE",
    "SystemCallErrorNumber",
    "User",
    "Group",
    "BindReadOnlyPaths",
];

/// What a service's unit says to keep it from what it does not do: each directive with all its words.
#[must_use]
pub fn confinement(unit: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    let text = TEMPLATES.iter().find(|(name, _)| *name == unit).map_or("", |(_, text)| text);
    let service = text.split_once("[Service]").map_or("", |(_, service)| service);
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for (directive, value) in service.lines().filter_map(|line| line.split_once('=')) {
        if directive.starts_with('#') || ORDINARY.contains(&directive) {
            continue;
        }
        let words = value.split_ascii_whitespace();
        match found.iter_mut().find(|(known, _)| *known == directive) {
            Some((_, all)) => all.extend(words),
            None => found.push((directive, words.collect())),
        }
    }
    found
}

/// The file in which a host says whose a unit is, in the unit's folder of such files.
pub const DROP_IN: &str = "10-banger-owner.conf";

/// Each unit's name and text, for programs in this folder.
#[must_use]
pub fn units(programs: &str) -> Vec<(&'static str, String)> {
    TEMPLATES.iter().map(|(name, text)| (*name, text.replace(PROGRAMS, programs))).collect()
}

/// What makes the services this owner's: the unit and the text of its drop-in.
#[must_use]
pub fn drop_ins(owner: &Owner) -> Vec<(&'static str, String)> {
    let Owner { uid, gid, home, .. } = owner;
    let socket = format!("[Socket]\nSocketUser={uid}\nSocketGroup={gid}\n");
    let home = home.display();
    // Their settings are read and nothing else of theirs.
    let service = format!("[Service]\nUser={uid}\nGroup={gid}\nBindReadOnlyPaths=-{home}/.config/banger\n");
    vec![("bangerd.socket", socket.clone()), ("bangerd-root.socket", socket), ("bangerd.service", service)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_names_its_program_by_the_folder_it_is_in() {
        for (name, text) in units("/usr/lib/banger") {
            assert!(!text.contains(PROGRAMS), "{name}: {text}");
            assert_eq!(text.contains("ExecStart=/usr/lib/banger/"), name.ends_with(".service"), "{name}");
        }
    }

    #[test]
    fn what_keeps_a_service_from_things_is_told_from_what_only_runs_it() {
        for (name, _) in TEMPLATES.iter().filter(|(name, _)| name.ends_with(".service")) {
            let found = confinement(name);
            let words = |directive: &str| {
                found.iter().find(|(known, _)| *known == directive).map(|(_, words)| words.join(" "))
            };
            assert_eq!(words("NoNewPrivileges").as_deref(), Some("yes"), "{name}");
            assert_eq!(words("ProtectSystem").as_deref(), Some("strict"), "{name}");
            assert_eq!(words("ExecStart"), None, "{name}");
            assert!(found.len() > 20, "{name}: {found:?}");
        }
        let helper = confinement("bangerd-root.service");
        let (_, capabilities) = helper.iter().find(|(name, _)| *name == "CapabilityBoundingSet").unwrap();
        assert!(capabilities.contains(&"CAP_NET_ADMIN") && capabilities.contains(&"CAP_SYS_PTRACE"));
        assert!(confinement("other.service").is_empty());
    }

    #[test]
    fn each_unit_that_is_somebodys_is_the_owners() {
        let owner = Owner { uid: 1000, gid: 100, name: "dev".to_owned(), home: "/home/dev".into() };
        let drop_ins = drop_ins(&owner);
        for (unit, text) in &drop_ins {
            assert!(text.contains("User=1000\n") && text.contains("Group=100\n"), "{unit}: {text}");
        }
        assert!(!drop_ins.iter().any(|(unit, _)| *unit == "bangerd-root.service"), "the helper is root's");
    }
}
