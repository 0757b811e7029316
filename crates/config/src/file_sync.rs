//! Files of the user's that every guest gets: which, where and with which mode. Pure; whether they are there is looked at
//! when they are brought in.

use std::path::{Component, Path, PathBuf};

/// The mode of a file that is given none.
const USUAL_MODE: u32 = 0o600;

/// One of them, a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSync {
    /// Absolute, below the user's home; where a link on the way leads is not known yet.
    pub host: PathBuf,
    /// Absolute, below root's home.
    pub guest: String,
    /// Of a file; a folder keeps the modes of what is in it.
    pub mode: u32,
}

impl FileSync {
    /// From what the file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(
        home: Option<&Path>,
        host: &str,
        guest: &str,
        mode: Option<&str>,
    ) -> Result<Self, String> {
        let home = home.ok_or_else(|| "no home directory is set, so there is nothing to copy".to_owned())?;
        let below = match host.strip_prefix("~/") {
            Some(below) => Some(Path::new(below)),
            None => Path::new(host).strip_prefix(home).ok(),
        };
        let below = below.filter(|below| is_plain(below));
        let below = below.ok_or_else(|| {
            format!("`{host}` is not in your home directory: write a path such as ~/.netrc")
        })?;
        let inside = guest.strip_prefix("~/").or_else(|| guest.strip_prefix("/root/")).map(Path::new);
        let inside = inside.filter(|inside| is_plain(inside)).and_then(Path::to_str);
        let inside = inside
            .ok_or_else(|| format!("`{guest}` is not in the guest's /root: write a path such as ~/.netrc"))?;
        let mode = mode.map_or(Ok(USUAL_MODE), |mode| match u32::from_str_radix(mode, 8) {
            Ok(mode) if mode <= 0o777 => Ok(mode),
            _ => Err(format!("`{mode}` is not a file mode: write a mode such as 0600")),
        })?;
        Ok(Self { host: home.join(below), guest: format!("/root/{}", inside.trim_end_matches('/')), mode })
    }
}

/// Whether a path leads down and nowhere else.
fn is_plain(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(host: &str, guest: &str, mode: Option<&str>) -> Result<FileSync, String> {
        FileSync::parse(Some(Path::new("/home/ada")), host, guest, mode)
    }

    #[test]
    fn both_ends_lie_below_a_home_and_a_file_is_the_owners_alone_unless_said() {
        let expected =
            FileSync { host: "/home/ada/.netrc".into(), guest: "/root/.netrc".into(), mode: 0o600 };
        assert_eq!(parse("~/.netrc", "~/.netrc", None), Ok(expected.clone()));
        assert_eq!(parse("/home/ada/.netrc", "/root/.netrc", Some("0600")), Ok(expected));
        assert_eq!(parse("~/a/b/", "~/c/", Some("755")).unwrap().guest, "/root/c");
    }

    #[test]
    fn what_leads_elsewhere_and_what_is_no_mode_is_refused() {
        for host in
            ["/etc/passwd", "~/../bob/x", "~", "~/", "a", "", "/home/adam/x", "/home/ada/../bob/x", "~bob/x"]
        {
            assert!(
                parse(host, "~/x", None).is_err_and(|said| said.contains("not in your home directory")),
                "{host}"
            );
        }
        for guest in ["/etc/passwd", "~/../etc/x", "~/", "x", "/root", "/root/../x"] {
            assert!(parse("~/x", guest, None).is_err_and(|said| said.contains("/root")), "{guest}");
        }
        for mode in ["", "9", "4755", "rw"] {
            assert!(parse("~/x", "~/x", Some(mode)).is_err_and(|said| said.contains("0600")), "{mode}");
        }
        assert!(FileSync::parse(None, "~/x", "~/x", None).is_err());
    }
}
