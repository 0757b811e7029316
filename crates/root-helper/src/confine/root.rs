//! The root directory of a VM's process: which pieces of the host are in it.
//!
//! It is made of nothing, so whatever is not named here does not exist for the process: not the owner's home, no
//! socket in `/run` or `/tmp`, no other VM's folder, no process but itself. That needs nothing of the kernel that the
//! helper does not need anyhow, unlike landlock, of which every second kernel has another part.

use super::Reach;
use crate::sys::root::{OWN_FOLDER, Piece, Root};
use banger_protocol::root_api::FirecrackerFiles;
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What a process reads about itself and opens its own files again by. All of `/proc` would have everybody else's
/// files in it: VMs that share a user may look into each other.
const ITSELF: &str = "/proc/self";
/// Where they are, under the name that Firecracker is told in every confinement.
const OWN_FILES: &str = "/proc/self/fd";

/// Looks up what there is on this host now.
pub(crate) fn of(reach: &Reach<'_>) -> io::Result<Root> {
    let itself = PathBuf::from(ITSELF);
    let places = reach.places().into_iter().map(|(path, _)| path).chain([itself]);
    // The descriptor comes from somebody else's mounts, and only from one's own can be mounted. What is found
    // there under the same path is compared with it.
    let folder = std::fs::read_link(format!("/proc/self/fd/{}", reach.folder.as_raw_fd()))?;
    let found = rustix::fs::fstat(reach.folder)?;
    Ok(Root {
        pieces: pieces(places)?,
        folder: text(folder.as_os_str())?,
        identity: (found.st_dev, found.st_ino),
    })
}

/// What has to be made, in this order, so that each of the places that exist here is at its own path.
fn pieces(places: impl Iterator<Item = PathBuf>) -> io::Result<Vec<Piece>> {
    let shared = inside(Path::new(FirecrackerFiles::SHARED))?;
    let own_files = Piece::Link { target: text(OWN_FILES.as_ref())?, at: shared };
    let mut pieces = vec![Piece::Folder(inside(Path::new(OWN_FOLDER))?), own_files];
    let mut shown: Vec<PathBuf> = Vec::new();
    let mut made = BTreeSet::new();
    for place in places {
        let is_shown = |path: &Path| shown.iter().any(|over| path.starts_with(over));
        if is_shown(&place) || made.contains(&place) {
            continue;
        }
        let Ok(found) = std::fs::metadata(&place) else { continue };
        let mut above: Vec<_> = place.ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
        above.reverse();
        for folder in above {
            if made.insert(folder.to_owned()) {
                pieces.push(Piece::Folder(inside(folder)?));
            }
        }
        let at = inside(&place)?;
        // As `/bin` is, mostly, a link to `usr/bin`.
        let target = std::fs::read_link(&place).ok();
        let target = target.filter(|_| std::fs::canonicalize(&place).is_ok_and(|real| is_shown(&real)));
        pieces.push(match target {
            Some(target) => Piece::Link { target: text(target.as_os_str())?, at },
            None => {
                let from = text(place.as_os_str())?;
                shown.push(place.clone());
                Piece::Mount { from, at, is_folder: found.is_dir() }
            }
        });
        made.insert(place);
    }
    Ok(pieces)
}

/// Where a path of the new root is while that is put together.
fn inside(path: &Path) -> io::Result<CString> {
    let mut whole = crate::sys::root::SITE.to_bytes().to_vec();
    whole.extend_from_slice(path.as_os_str().as_bytes());
    Ok(CString::new(whole)?)
}

fn text(path: &OsStr) -> io::Result<CString> {
    Ok(CString::new(path.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(places: &[&Path]) -> Vec<String> {
        let word = |text: &CString| text.to_str().unwrap().to_owned();
        let line = |piece: &Piece| match piece {
            Piece::Folder(at) => format!("folder {}", word(at)),
            Piece::Link { target, at } => format!("link {} -> {}", word(at), word(target)),
            Piece::Mount { from, at, is_folder } => format!("mount {} {} {is_folder}", word(from), word(at)),
        };
        let places = places.iter().map(|path| path.to_path_buf());
        pieces(places).unwrap().iter().map(line).collect()
    }

    #[test]
    fn each_place_is_at_its_own_path_once_with_what_is_above_it() {
        let host = tempfile::tempdir().unwrap();
        let host = host.path().canonicalize().unwrap();
        let at = |name: &str| host.join(name);
        for folder in ["usr/bin", "opt/lib"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("opt/program"), "").unwrap();
        std::os::unix::fs::symlink("usr/bin", at("bin")).unwrap();
        std::os::unix::fs::symlink("opt/lib", at("lib")).unwrap();
        let names = ["usr", "usr/bin", "bin", "lib", "absent", "opt/program", "opt/program", "opt/lib"];
        let places: Vec<_> = names.iter().map(|name| at(name)).collect();
        let host = host.to_str().unwrap();
        let made = shown(&places.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        let expected = [
            format!("mount {host}/usr /sys{host}/usr true"),
            format!("link /sys{host}/bin -> usr/bin"),
            // What it leads to is not there, so it is what it leads to.
            format!("mount {host}/lib /sys{host}/lib true"),
            format!("folder /sys{host}/opt"),
            format!("mount {host}/opt/program /sys{host}/opt/program false"),
            format!("mount {host}/opt/lib /sys{host}/opt/lib true"),
        ];
        assert_eq!(made[made.len() - expected.len()..], expected, "{made:#?}");
        assert_eq!(made[0], "folder /sys/vm");
    }
}
