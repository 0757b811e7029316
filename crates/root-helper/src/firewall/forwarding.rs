//! Whether the host forwards packets at all, which guests that reach the world need.
//!
//! It is switched on for the first of them and stays on. Of the installed helper a note says that it was off before, so
//! that it is off again when banger is uninstalled; like the switch itself the note does not outlive the host's uptime.

use std::io;
use std::path::Path;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
/// Beside the helper's socket, in a folder of root's.
const NOTE: &str = "/run/banger-root/forwarding-was-off";

/// Who is told that it was off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Note {
    /// The helper's own network namespace, which ends with it.
    #[default]
    Nobody,
    /// Whoever uninstalls banger.
    Uninstaller,
}

pub(super) fn switch_on(note: Note) -> io::Result<()> {
    on(note, Path::new(SWITCH), Path::new(NOTE))
}

/// Switches it off where it was.
pub(super) fn put_back() -> io::Result<()> {
    back(Path::new(SWITCH), Path::new(NOTE))
}

fn on(note: Note, switch: &Path, place: &Path) -> io::Result<()> {
    let is_off = std::fs::read_to_string(switch)?.trim() == "0";
    if !is_off {
        return Ok(());
    }
    // The note first: a helper that is killed in between has noted what is still so.
    if note == Note::Uninstaller {
        std::fs::write(place, "")?;
    }
    std::fs::write(switch, "1")
}

fn back(switch: &Path, place: &Path) -> io::Result<()> {
    match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map(drop)?,
    }
    std::fs::write(switch, "0")?;
    std::fs::remove_file(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_before_stays_on_and_what_was_off_is_off_again() {
        let folder = tempfile::tempdir().unwrap();
        let (switch, note) = (folder.path().join("switch"), folder.path().join("note"));
        let read = || std::fs::read_to_string(&switch).unwrap().trim().to_owned();
        for (before, whom, after) in
            [("0\n", Note::Uninstaller, "0"), ("1\n", Note::Uninstaller, "1"), ("0\n", Note::Nobody, "1")]
        {
            std::fs::write(&switch, before).unwrap();
            // For the second guest it is on already, and the note stays true.
            for _ in 0..2 {
                on(whom, &switch, &note).unwrap();
                assert_eq!(read(), "1");
            }
            back(&switch, &note).unwrap();
            assert_eq!(read(), after, "{before:?} {whom:?}");
            assert!(!note.exists());
        }
    }
}
