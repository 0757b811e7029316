//! Making the mounted image `/`, and giving the initrd's memory back.

use rustix::mount::mount_move;
use std::io;
use std::path::Path;

/// Moves the kernel's file systems along, empties the initrd and makes `new_root` the root.
pub(super) fn switch(new_root: &Path) -> io::Result<()> {
    for place in ["dev", "proc", "sys"] {
        let there = new_root.join(place);
        match std::fs::create_dir(&there) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => mount_move(Path::new("/").join(place), there)?,
        }
    }
    empty_initrd(new_root)?;
    rustix::process::chdir(new_root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Removes everything but the new root, which is the only file system mounted below `/` by now.
fn empty_initrd(new_root: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir("/")? {
        let path = entry?.path();
        if path == new_root {
            continue;
        }
        // What stays costs memory, nothing else.
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
    Ok(())
}
