//! The programs that are asked.

use std::path::PathBuf;
use std::process::Command;

const VARIABLE: &str = "BANGER_FIRECRACKER";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Fake(PathBuf),
    Real(PathBuf),
}

/// The fake, and the real one where the environment names it.
pub(crate) fn programs() -> Vec<Program> {
    let real = std::env::var_os(VARIABLE).map(|path| {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{VARIABLE} is {}, and that is no file", path.display());
        let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm");
        assert!(kvm.is_ok(), "{VARIABLE} is set, and Firecracker needs /dev/kvm: {kvm:?}");
        Program::Real(path)
    });
    std::iter::once(Program::Fake(fake())).chain(real).collect()
}

/// Beside the test's own folder, unless the programs lie elsewhere.
fn fake() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().nth(2).unwrap().to_owned();
    let folder = std::env::var_os("BANGER_BIN_DIR").map_or(beside, PathBuf::from);
    let path = folder.join("fake-firecracker");
    assert!(
        path.is_file(),
        "there is no {}: `cargo xtask build` builds it, `cargo xtask test` does so by itself",
        path.display()
    );
    path
}

impl Program {
    /// The real one opens taps, and as root makes them: it gets a network of its own.
    #[expect(clippy::disallowed_methods, reason = "the programs under test")]
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Fake(path) => Command::new(path),
            Self::Real(path) => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user", "--net", "--"]).arg(path);
                command
            }
        }
    }

    /// A tap it can have. The real one makes it; the fake one only looks whether the name is a link's.
    pub(crate) fn tap(&self) -> &'static str {
        match self {
            Self::Fake(_) => "lo",
            Self::Real(_) => "tap-of-test",
        }
    }
}
