//! What of the user's own every guest is given at each of its starts: kept in the state folder as it was handed over.

use crate::paths::StateFolder;
use banger_protocol::daemon_api::personal::{Kept, MOST_FILES, MOST_TEXT, Set};
use banger_protocol::wire::{ErrorKind, RpcError};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longer than what anybody may hand over becomes with all its characters escaped.
const LONGEST: u64 = 2 << 20;

/// Keeps it, in place of what was kept before.
pub(crate) fn set(state: &StateFolder, request: &Set) -> Result<Kept, RpcError> {
    let refused = |message: String| RpcError::new(ErrorKind::BadRequest, message);
    if let Some((file, complaint)) = request.files.iter().find_map(|file| Some((file, file.complaint()?))) {
        return Err(refused(format!("no guest can have the file {:?}: {complaint}", file.path)));
    }
    let length: usize = request.files.iter().map(|file| file.text.len()).sum();
    if request.files.len() > MOST_FILES || length > MOST_TEXT {
        return Err(refused(format!("more than {MOST_FILES} files or {MOST_TEXT} bytes for every guest")));
    }
    let _one_at_a_time = turn();
    if read(state).as_ref() != Some(request) {
        write(state, request).map_err(|error| {
            let message = format!("what every guest is to have was not kept: {error}");
            RpcError::new(ErrorKind::OperationFailed, message)
        })?;
    }
    Ok(Kept {})
}

/// What was handed over last; nothing of it where it cannot be read.
pub(crate) fn last(state: &StateFolder) -> Set {
    read(state).unwrap_or_default()
}

/// Removes what a daemon that crashed while it wrote left: there may be secrets in it.
pub(crate) fn remove_draft(state: &StateFolder) {
    let _one_at_a_time = turn();
    match std::fs::remove_file(state.personal_draft()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "an unfinished copy of what every guest is to have was not removed");
        }
        _ => {}
    }
}

/// Held from looking at what is kept to its replacement.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(state: &StateFolder) -> Option<Set> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(state.personal()).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whole or not at all: a start, or the host's end, may come in between.
fn write(state: &StateFolder, set: &Set) -> io::Result<()> {
    let draft = state.personal_draft();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(set)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, state.personal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::daemon_api::personal::File;

    fn of(path: &str, length: usize) -> File {
        File { path: path.to_owned(), mode: 0o600, text: "x".repeat(length) }
    }

    #[test]
    fn what_was_handed_over_last_is_kept_and_what_no_guest_can_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::make(folder.path().join("state")).unwrap();
        assert_eq!(last(&state), Set::default());
        for text in [1, 2] {
            let set_now = Set { files: vec![of("a", text)], git: None };
            for _ in 0..2 {
                set(&state, &set_now).unwrap();
                assert_eq!(last(&state), set_now);
            }
        }
        let many = (0..3).map(|number| of(&number.to_string(), MOST_TEXT / 3 + 1)).collect();
        for files in [vec![of("../a", 1)], many, vec![of("a", 1); MOST_FILES + 1]] {
            assert!(set(&state, &Set { files, git: None }).is_err());
        }
        assert_eq!(last(&state).files[0].text, "xx");
        std::fs::write(state.personal(), "{").unwrap();
        assert_eq!(last(&state), Set::default());
    }

    #[test]
    fn however_many_hand_something_over_and_whoever_crashed_nothing_else_is_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::make(folder.path().join("state")).unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(folder.path().join("state")).unwrap().flatten();
            let names = entries.map(|entry| entry.file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("personal")).collect()
        };
        // What a daemon that crashed while it wrote left.
        std::fs::write(state.personal_draft(), "a secret that is longer than what comes").unwrap();
        set(&state, &Set { files: vec![of("a", 1)], git: None }).unwrap();
        assert_eq!(names(), ["personal.json"]);
        std::thread::scope(|scope| {
            for length in 1..9 {
                let state = &state;
                scope.spawn(move || {
                    for more in 0..20 {
                        set(state, &Set { files: vec![of("a", length + more)], git: None }).unwrap();
                        assert!(!last(state).files.is_empty());
                    }
                });
            }
        });
        assert_eq!(names(), ["personal.json"]);
        std::fs::write(state.personal_draft(), "a secret").unwrap();
        remove_draft(&state);
        remove_draft(&state);
        assert_eq!(names(), ["personal.json"]);
    }
}
