//! Where banger's programs are, and which tools stand beside them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder all of banger's programs lie in.
///
/// # Panics
/// When one is missing, with the command that builds it.
pub(crate) fn folder() -> PathBuf {
    for program in ["banger", "bangerd", "bangerd-root", "banger-vsock-agent"] {
        let _ = find(program);
    }
    given_or_beside()
}

/// One program in that folder.
///
/// # Panics
/// When it is missing, with the command that builds it.
pub(crate) fn find(program: &str) -> PathBuf {
    let path = given_or_beside().join(program);
    assert!(
        path.is_file(),
        "there is no {}: `cargo xtask build` builds it, `cargo xtask test` does so by itself",
        path.display()
    );
    path
}

fn given_or_beside() -> PathBuf {
    std::env::var_os("BANGER_BIN_DIR").map_or_else(beside_this_test, PathBuf::from)
}

/// A test lies in `<target>/<profile>/deps`.
fn beside_this_test() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a file");
    test.ancestors().nth(2).expect("cargo puts tests two folders below its target folder").to_owned()
}

/// The PATH of a sandbox: what `cargo xtask setup` installed, then the system's, and nothing of the developer's own.
pub(crate) fn search_path(programs: &Path) -> OsString {
    let tools = programs.parent().map(|target| target.join("tools/bin"));
    let given = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    // One tool may be on the developer's PATH alone; it is looked for last, so that nothing shadows the system's.
    let folders = tools.into_iter().chain(system.map(PathBuf::from)).chain(std::env::split_paths(&given));
    std::env::join_paths(folders.collect::<Vec<_>>()).expect("the target folder's name has no colon")
}
