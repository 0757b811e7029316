//! Everything that VMs can leave behind in a sandbox, looked for where the kernel and the file system keep it and
//! not where banger says that it is.
//!
//! The daemon and its helper are no leftovers. When the last process in the helper's namespaces has ended, so have
//! the taps in them; so it is enough to look into the namespaces of the processes that are there.

use crate::{Process, Sandbox};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

const OURS: [&str; 2] = ["bangerd", "bangerd-root"];
const SOCKETS: [&str; 2] = ["bangerd.sock", "bangerd-root.sock"];

impl Sandbox {
    /// What is there of VMs, one line each, their rows not among it.
    ///
    /// # Panics
    /// When the sandbox cannot be looked into.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let (own, others): (Vec<Process>, Vec<Process>) =
            self.processes().into_iter().partition(|process| OURS.contains(&process.program()));
        let mut left: Vec<String> = others
            .iter()
            .map(|process| format!("process {}: {}", process.program(), process.command))
            .collect();
        for program in OURS {
            let count = own.iter().filter(|process| process.program() == program).count();
            left.extend((count > 1).then(|| format!("{count} processes {program}")));
        }
        for process in own.iter().chain(&others).filter(|process| process.program() != "bangerd") {
            let links = fs::read_to_string(format!("/proc/{}/net/dev", process.pid)).unwrap_or_default();
            left.extend(taps(&links).map(|tap| format!("tap {tap}")));
        }
        left.extend(self.vm_folders().into_iter().map(|name| format!("folder vms/{name}")));
        let files: Vec<PathBuf> =
            [self.state(), self.runtime()].iter().flat_map(|at| files_below(at)).collect();
        left.extend(files.iter().filter(|path| is_unfinished(path)).map(|path| shown("file", path)));
        left.extend(files.iter().filter(|path| is_stray_socket(path)).map(|path| shown("socket", path)));
        left.sort();
        left.dedup();
        left
    }

    /// # Panics
    /// When anything of a VM is there, its row included.
    pub fn assert_nothing_left(&self) {
        // Before a command, which may start a daemon that cleans up.
        assert_eq!(self.leftovers(), [""; 0], "left over");
        assert_eq!(self.vm_ids(), [""; 0], "rows left over");
    }
}

fn shown(kind: &str, path: &Path) -> String {
    format!("{kind} {}", path.display())
}

/// Names of taps in `/proc/<pid>/net/dev`, whose first two lines are headings.
fn taps(net_dev: &str) -> impl Iterator<Item = &str> {
    let names = net_dev.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    names.filter(|name| name.starts_with("bt"))
}

fn is_unfinished(path: &Path) -> bool {
    let text = path.to_string_lossy();
    path.extension().is_some_and(|extension| extension == "partial") || text.contains("/.tmp-")
}

fn is_stray_socket(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && SOCKETS.iter().all(|known| name != *known)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_is_told_from_other_links() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 0 0\nbr-banger: 1 2\nbt0123456789ab: 3 4\n";
        assert_eq!(taps(text).collect::<Vec<_>>(), ["bt0123456789ab"]);
    }

    #[test]
    fn unfinished_files_and_foreign_sockets_are_found_wherever_they_lie() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deep = folder.path().join("images/.tmp-1");
        fs::create_dir_all(&deep).expect("it is writable");
        fs::write(deep.join("rootfs.ext4"), "").expect("it is writable");
        fs::write(folder.path().join("initrd.partial"), "").expect("it is writable");
        fs::write(folder.path().join("initrd.img"), "").expect("it is writable");
        let unfinished = files_below(folder.path()).iter().filter(|path| is_unfinished(path)).count();
        assert_eq!(unfinished, 3);

        for (name, stray) in [("bangerd.sock", false), ("v.sock", true)] {
            let path = folder.path().join(name);
            let _listener = std::os::unix::net::UnixListener::bind(&path).expect("it can listen");
            assert_eq!(is_stray_socket(&path), stray, "{name}");
        }
    }
}
