//! Which files the installed system consists of, and what is in them.

use banger_system::units::{self, DROP_IN};
use banger_system::{Install, Owner};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The programs that go together, beside `banger` itself.
pub(crate) const PROGRAMS: [&str; 3] = ["bangerd", "bangerd-root", "banger-vsock-agent"];
/// One that Debian does not have, brought along where it is at hand.
pub(crate) const BACKEND: &str = "vhost-device-vsock";

/// Where drop-ins are, and units that no package brought.
const UNITS_OF_THE_HOST: &str = "/etc/systemd/system";

/// Who put the programs where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The package manager, to whom units and programs belong.
    Package,
    /// A folder with a build in it; `install` copies it.
    Folder(PathBuf),
}

impl Origin {
    /// Where this program comes from. Pure but for the look at the package's folder.
    pub(crate) fn of(program: &Path) -> Self {
        let folder = program.parent().unwrap_or(Path::new("/"));
        if folder == Path::new("/usr/bin") && Path::new("/usr/lib/banger/bangerd").exists() {
            return Self::Package;
        }
        // One that was installed before is its own source.
        let installed = folder == Path::new("/usr/local/bin");
        Self::Folder(if installed { "/usr/local/lib/banger".into() } else { folder.to_owned() })
    }

    /// The one that an installed system came from. Pure.
    pub(crate) fn installed(install: &Install) -> Self {
        match install.programs == Self::Package.programs() {
            true => Self::Package,
            false => Self::Folder(install.programs.clone()),
        }
    }

    /// Where the programs are once it is installed.
    pub(crate) fn programs(&self) -> &'static Path {
        Path::new(match self {
            Self::Package => "/usr/lib/banger",
            Self::Folder(_) => "/usr/local/lib/banger",
        })
    }

    /// The other origin's units would be shadowed by ours, or would shadow them.
    pub(crate) fn owns_units(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

/// What keeps the host from looking into guests' disks; udev notices by itself that it is there.
const RULES: (&str, &str) =
    ("/etc/udev/rules.d/58-banger.rules", include_str!("../../../../packaging/58-banger.rules"));

/// A file with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub path: PathBuf,
    pub content: String,
}

/// Every text that makes the services. Pure.
pub(crate) fn texts(origin: &Origin, owner: &Owner) -> Vec<Text> {
    let host = Path::new(UNITS_OF_THE_HOST);
    let units = units::units(&origin.programs().display().to_string());
    let units = units.into_iter().map(|(name, content)| Text { path: host.join(name), content });
    let drop_ins = units::drop_ins(owner)
        .into_iter()
        .map(|(unit, content)| Text { path: host.join(format!("{unit}.d")).join(DROP_IN), content });
    let rules = Text { path: RULES.0.into(), content: RULES.1.to_owned() };
    units.chain([rules]).filter(|_| origin.owns_units()).chain(drop_ins).collect()
}

/// How a file differs from what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    Missing,
    Changed,
    /// Somebody else than root could change it.
    Open,
}

impl Drift {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Changed => "differs from what this banger installs",
            Self::Open => "can be changed by users other than root",
        }
    }
}

/// What is not as it should be of these texts.
pub(crate) fn drift(texts: &[Text]) -> Vec<(PathBuf, Drift)> {
    let differs = |text: &Text| {
        let found = std::fs::read_to_string(&text.path).ok();
        let mode = std::fs::metadata(&text.path).map_or(0, |found| found.permissions().mode());
        judge(found.as_deref(), mode, &text.content).map(|drift| (text.path.clone(), drift))
    };
    texts.iter().filter_map(differs).collect()
}

fn judge(found: Option<&str>, mode: u32, expected: &str) -> Option<Drift> {
    match found {
        None => Some(Drift::Missing),
        Some(found) if found != expected => Some(Drift::Changed),
        Some(_) => (mode & 0o022 != 0).then_some(Drift::Open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_brings_the_units_and_the_host_says_whose_they_are() {
        let owner = Owner { uid: 1000, gid: 1000, name: "dev".to_owned(), home: "/home/dev".into() };
        let names = |origin: &Origin| -> Vec<String> {
            texts(origin, &owner).iter().map(|text| text.path.display().to_string()).collect()
        };
        let of_package = names(&Origin::Package);
        assert!(of_package.iter().all(|path| path.ends_with(DROP_IN)), "{of_package:?}");
        let of_folder = names(&Origin::Folder("/b".into()));
        assert_eq!(of_folder.len(), of_package.len() + 5);
        assert!(of_folder.contains(&RULES.0.to_owned()));
        assert!(of_folder.contains(&"/etc/systemd/system/bangerd-root.service".to_owned()));
    }

    #[test]
    fn every_way_in_which_a_file_is_not_as_written_is_told() {
        for (found, mode, drift) in [
            (Some("a"), 0o644, None),
            (Some("b"), 0o644, Some(Drift::Changed)),
            (Some("a"), 0o664, Some(Drift::Open)),
            (None, 0, Some(Drift::Missing)),
        ] {
            assert_eq!(judge(found, mode, "a"), drift);
        }
    }

    #[test]
    fn an_installed_program_installs_itself_again() {
        let origin = Origin::of(Path::new("/usr/local/bin/banger"));
        assert_eq!(origin, Origin::Folder("/usr/local/lib/banger".into()));
        assert_eq!(Origin::of(Path::new("/b/target/banger")), Origin::Folder("/b/target".into()));
    }
}
