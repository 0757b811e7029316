//! The units' texts and what each host adds to them. Pure.
//!
//! The units themselves say nothing of the host, so that a package can bring them; whose the services are is in
//! drop-ins.

use banger_system::Owner;

/// In the units, where banger's programs are.
const PROGRAMS: &str = "@PROGRAMS@";

const TEMPLATES: [(&str, &str); 4] = [
    ("bangerd.socket", include_str!("../../../../packaging/systemd/bangerd.socket")),
    ("bangerd.service", include_str!("../../../../packaging/systemd/bangerd.service")),
    ("bangerd-root.socket", include_str!("../../../../packaging/systemd/bangerd-root.socket")),
    ("bangerd-root.service", include_str!("../../../../packaging/systemd/bangerd-root.service")),
];

/// Each unit's name and text, for programs in this folder.
pub(crate) fn units(programs: &str) -> Vec<(&'static str, String)> {
    TEMPLATES.iter().map(|(name, text)| (*name, text.replace(PROGRAMS, programs))).collect()
}

/// What makes the services this owner's: the unit and the text of its drop-in.
pub(crate) fn drop_ins(owner: &Owner) -> Vec<(&'static str, String)> {
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
    fn each_unit_that_is_somebodys_is_the_owners() {
        let owner = Owner { uid: 1000, gid: 100, name: "dev".to_owned(), home: "/home/dev".into() };
        let drop_ins = drop_ins(&owner);
        for (unit, text) in &drop_ins {
            assert!(text.contains("User=1000\n") && text.contains("Group=100\n"), "{unit}: {text}");
        }
        assert!(!drop_ins.iter().any(|(unit, _)| *unit == "bangerd-root.service"), "the helper is root's");
    }
}
