//! Where local mode keeps its things, decided the same way by the program that starts the daemon and by the
//! daemon.
//!
//! Finding the places is a function of the environment's values. Making them is checked: whoever can put a
//! folder where the daemon's socket is expected could be talked to in its place, so a folder that exists is
//! used only when it is a real one, the caller's own, and closed to everybody else.

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// `sun_path` is 108 bytes and its last is a NUL (`unix(7)`).
const LONGEST_SOCKET_PATH: usize = 107;

const SOCKET_NAME: &str = "bangerd.sock";

/// The values that decide; a variable that is not set is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment<'a> {
    pub home: Option<&'a OsStr>,
    pub xdg_state_home: Option<&'a OsStr>,
    pub xdg_cache_home: Option<&'a OsStr>,
    pub xdg_config_home: Option<&'a OsStr>,
    pub xdg_runtime_dir: Option<&'a OsStr>,
    pub tmpdir: Option<&'a OsStr>,
    /// The effective user id.
    pub uid: u32,
}

/// Local mode's places; every path is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPaths {
    /// The user's home, where `~/` leads.
    pub home: Option<PathBuf>,
    /// The database, images, kernels and VMs.
    pub state: PathBuf,
    /// What can be made again.
    pub cache: PathBuf,
    /// The user's settings; a file that need not exist.
    pub config: PathBuf,
    /// Sockets. Its name carries a hash of the state folder, so that each state folder has its own daemon.
    pub runtime: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The private key that opens every guest, unless the user's settings name another; made on first use.
    pub ssh_key: PathBuf,
}

/// Why there is no place for local mode's things.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocalPathsError {
    #[error("neither HOME nor {0} holds an absolute path")]
    NoHome(&'static str),
    #[error("the socket's path is {} bytes long and Unix allows {LONGEST_SOCKET_PATH}: {}", .0.as_os_str().len(), .0.display())]
    SocketPathTooLong(PathBuf),
}

impl LocalPaths {
    /// The places that this process's own environment leads to, for this effective user id. Both ends of the socket look
    /// here, so that they come to the same.
    ///
    /// # Errors
    /// As [`LocalPaths::find`].
    pub fn of_this_process(uid: u32) -> Result<Self, LocalPathsError> {
        let value = std::env::var_os;
        let (home, state, cache) = (value("HOME"), value("XDG_STATE_HOME"), value("XDG_CACHE_HOME"));
        let (config, runtime, tmpdir) = (value("XDG_CONFIG_HOME"), value("XDG_RUNTIME_DIR"), value("TMPDIR"));
        Self::find(&Environment {
            home: home.as_deref(),
            xdg_state_home: state.as_deref(),
            xdg_cache_home: cache.as_deref(),
            xdg_config_home: config.as_deref(),
            xdg_runtime_dir: runtime.as_deref(),
            tmpdir: tmpdir.as_deref(),
            uid,
        })
    }

    /// The places that `environment` leads to. Relative values are ignored, as the XDG specification asks.
    ///
    /// # Errors
    /// When the environment names no home, or leads to a path too long for a socket.
    pub fn find(environment: &Environment<'_>) -> Result<Self, LocalPathsError> {
        let below_home = |variable, value, default: &str| {
            let home = || absolute(environment.home).map(|home| home.join(default));
            let base = absolute(value).map(Path::to_owned).or_else(home);
            base.map(|base| base.join("banger")).ok_or(LocalPathsError::NoHome(variable))
        };
        let state = below_home("XDG_STATE_HOME", environment.xdg_state_home, ".local/state")?;
        let cache = below_home("XDG_CACHE_HOME", environment.xdg_cache_home, ".cache")?;
        let config = below_home("XDG_CONFIG_HOME", environment.xdg_config_home, ".config")?;
        let hash = short_hash(&state);
        let runtime = match absolute(environment.xdg_runtime_dir) {
            Some(folder) => folder.join(format!("banger-{hash}")),
            None => absolute(environment.tmpdir)
                .unwrap_or(Path::new("/tmp"))
                .join(format!("banger-{}-{hash}", environment.uid)),
        };
        let socket = runtime.join(SOCKET_NAME);
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(LocalPathsError::SocketPathTooLong(socket));
        }
        let ssh_key = state.join("ssh/id_ed25519");
        let home = absolute(environment.home).map(Path::to_owned);
        Ok(Self { home, state, cache, config: config.join("config.toml"), runtime, socket, ssh_key })
    }
}

fn absolute(value: Option<&OsStr>) -> Option<&Path> {
    value.map(Path::new).filter(|path| path.is_absolute())
}

/// The first 12 hexadecimal digits of the path's SHA-256.
fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a folder cannot be trusted with the daemon's things.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFolderError {
    #[error("cannot create {}", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a usable directory (symbolic links are refused)", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} belongs to uid {owner}, not to {uid}", path.display())]
    ForeignOwner { path: PathBuf, owner: u32, uid: u32 },
    #[error("{} is accessible to other users: its mode is {mode:03o} and not 700 (`chmod 700` closes it)", path.display())]
    OpenToOthers { path: PathBuf, mode: u32 },
}

/// Makes `path` and its missing parents with mode 0700, or checks that what exists is a real folder of `uid`
/// that nobody else can enter. Repeating it changes nothing.
///
/// # Errors
/// When it cannot be made, or what is there is not to be trusted.
pub fn make_private_folder(path: &Path, uid: u32) -> Result<(), PrivateFolderError> {
    let here = || path.to_owned();
    // A recursive builder takes a symbolic link to a folder for the folder: the open below does not.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PrivateFolderError::Make { path: here(), source })?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let refused = |errno: rustix::io::Errno| PrivateFolderError::Open { path: here(), source: errno.into() };
    let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(refused)?;
    let found = rustix::fs::fstat(&folder).map_err(refused)?;
    if found.st_uid != uid {
        return Err(PrivateFolderError::ForeignOwner { path: here(), owner: found.st_uid, uid });
    }
    match found.st_mode & 0o777 {
        mode if mode & 0o077 != 0 => Err(PrivateFolderError::OpenToOthers { path: here(), mode }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn environment() -> Environment<'static> {
        Environment { home: Some(OsStr::new("/home/ada")), uid: 1000, ..Environment::default() }
    }

    #[test]
    fn without_xdg_variables_everything_is_below_home_and_the_temporary_folder() {
        let paths = LocalPaths::find(&environment()).unwrap();
        assert_eq!(paths.state, Path::new("/home/ada/.local/state/banger"));
        assert_eq!(paths.cache, Path::new("/home/ada/.cache/banger"));
        assert_eq!(paths.config, Path::new("/home/ada/.config/banger/config.toml"));
        let runtime = paths.runtime.to_str().unwrap();
        assert_eq!(runtime.len(), "/tmp/banger-1000-".len() + 12);
        assert!(runtime.starts_with("/tmp/banger-1000-"), "{runtime}");
        assert_eq!(paths.socket, paths.runtime.join("bangerd.sock"));
    }

    #[test]
    fn each_state_folder_has_a_runtime_folder_of_its_own() {
        let runtime = Some(OsStr::new("/run/user/1000"));
        let one = LocalPaths::find(&Environment { xdg_runtime_dir: runtime, ..environment() }).unwrap();
        let state = Some(OsStr::new("/srv/state"));
        let other = Environment { xdg_runtime_dir: runtime, xdg_state_home: state, ..environment() };
        let other = LocalPaths::find(&other).unwrap();
        assert!(one.runtime.starts_with("/run/user/1000"));
        assert_ne!(one.runtime, other.runtime);
    }

    #[test]
    fn relative_values_are_ignored_and_no_home_at_all_is_an_error() {
        let relative = Environment { xdg_state_home: Some(OsStr::new("state")), ..environment() };
        assert_eq!(LocalPaths::find(&relative), LocalPaths::find(&environment()));
        let homeless = Environment::default();
        assert_eq!(LocalPaths::find(&homeless), Err(LocalPathsError::NoHome("XDG_STATE_HOME")));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let long = format!("/{}", "x".repeat(90));
        let tmpdir = Environment { tmpdir: Some(OsStr::new(&long)), ..environment() };
        assert!(matches!(LocalPaths::find(&tmpdir), Err(LocalPathsError::SocketPathTooLong(_))));
    }

    #[test]
    fn a_private_folder_is_made_once_and_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let folder = parent.path().join("a/b");
        make_private_folder(&folder, uid).unwrap();
        make_private_folder(&folder, uid).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn links_open_modes_files_and_foreign_owners_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let folder = parent.path().join("real");
        make_private_folder(&folder, uid).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(matches!(make_private_folder(&link, uid), Err(PrivateFolderError::Open { .. })));
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(make_private_folder(&file, uid), Err(PrivateFolderError::Make { .. })));
        let foreign = make_private_folder(&folder, uid + 1);
        assert!(matches!(foreign, Err(PrivateFolderError::ForeignOwner { .. })));
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o750)).unwrap();
        let open = make_private_folder(&folder, uid);
        assert!(matches!(open, Err(PrivateFolderError::OpenToOthers { mode: 0o750, .. })));
    }
}
