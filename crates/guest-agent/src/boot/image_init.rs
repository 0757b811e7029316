//! Which program of the image is its init.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PLACES: [&str; 5] =
    ["/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/etc/init", "/bin/init"];

/// What busybox's init runs first on the systems that are made to boot with it.
const BUSYBOX_STARTS: [&str; 3] = ["sbin/openrc", "usr/sbin/openrc", "etc/init.d/rcS"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageInit {
    Systemd(&'static str),
    Other(&'static str),
    /// The agent's own PID 1 has to do.
    None,
}

impl ImageInit {
    /// The init of the image mounted at `root`.
    pub(super) fn find(root: &Path) -> Self {
        PLACES
            .into_iter()
            .find_map(|place| {
                let program = root.join(&place[1..]).canonicalize().ok()?;
                let about = program.metadata().ok()?;
                let runnable = about.is_file() && about.permissions().mode() & 0o111 != 0;
                (runnable && boots(root, &program)).then(|| Self::of_kind(place, &program))
            })
            .unwrap_or(Self::None)
    }

    fn of_kind(place: &'static str, program: &Path) -> Self {
        match program.file_name() {
            Some(name) if name == "systemd" => Self::Systemd(place),
            _ => Self::Other(place),
        }
    }
}

/// Container images of Alpine have a `/sbin/init`, busybox, and nothing for it to start.
fn boots(root: &Path, program: &Path) -> bool {
    program.file_name().is_none_or(|name| name != "busybox")
        || BUSYBOX_STARTS.iter().any(|start| root.join(start).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn image(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let path = folder.path().join(program);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[test]
    fn systemd_is_known_behind_the_link_to_it() {
        let image = image(&["lib/systemd/systemd", "sbin/agetty"]);
        symlink("../lib/systemd/systemd", image.path().join("sbin/init")).unwrap();
        assert_eq!(ImageInit::find(image.path()), ImageInit::Systemd("/sbin/init"));
    }

    #[test]
    fn busybox_is_an_init_only_where_it_has_something_to_start() {
        let image = image(&["bin/busybox", "sbin/apk"]);
        symlink("../bin/busybox", image.path().join("sbin/init")).unwrap();
        assert_eq!(ImageInit::find(image.path()), ImageInit::None);
        std::fs::write(image.path().join("sbin/openrc"), "").unwrap();
        assert_eq!(ImageInit::find(image.path()), ImageInit::Other("/sbin/init"));
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_init() {
        let image = image(&["etc/passwd", "sbin/init"]);
        std::fs::set_permissions(image.path().join("sbin/init"), std::fs::Permissions::from_mode(0o644))
            .unwrap();
        assert_eq!(ImageInit::find(image.path()), ImageInit::None);
    }
}
