//! With real git on both sides. The guest is a repository of this machine, or a liar.

mod hostile;
mod property;

use super::*;
use crate::git::inspect::{Found, inspect};
use crate::tool::Tool;
use banger_protocol::daemon_api::workspace::Mode;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::{Exit, Request};
use std::convert::Infallible;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;

/// A repository of a user's, and a guest's clone of it.
struct Place {
    folder: tempfile::TempDir,
    head: Option<String>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("here")).unwrap();
        let place = Self { folder, head: None };
        place.git(&["init", "-q", "-b", "main"]);
        place
    }

    fn here(&self) -> PathBuf {
        self.folder.path().join("here")
    }

    fn there(&self) -> PathBuf {
        self.folder.path().join("there")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.here(), arguments, b"")
    }

    fn git_there(&self, arguments: &[&str]) -> String {
        git_in(&self.there(), arguments, b"")
    }

    fn commit(&mut self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "work"]);
        self.head = Some(self.git(&["rev-parse", "HEAD"]));
    }

    /// Into the guest, as it is.
    fn bring_in(&self) {
        let url = format!("file://{}", self.here().display());
        git_in(self.folder.path(), &["clone", "-q", "--depth=3", "--no-local", &url, "there"], b"");
    }

    fn workspace(&self) -> Workspace {
        Workspace {
            host_path: self.here().to_str().unwrap().to_owned(),
            guest_path: self.there().to_str().unwrap().to_owned(),
            head: self.head.clone(),
            branch: None,
            base_tree: None,
            mode: Mode::Shallow,
            chosen: Default::default(),
            prepared: String::new(),
        }
    }

    fn repository(&self) -> Repository {
        match inspect(&self.here()).unwrap() {
            Found::Repository(repository) => *repository,
            Found::Folder(_) => panic!("it is a repository"),
        }
    }

    fn fetch(
        &self,
        limits: Limits,
        guest: impl Fn(UnixStream) + Clone + Send + 'static,
    ) -> Result<Work, FetchError> {
        let cache = self.folder.path().join("cache");
        Work::fetch(&self.workspace(), &self.repository(), &cache, limits, &Stop::default(), || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let guest = guest.clone();
            std::thread::spawn(move || guest(theirs));
            Ok::<OwnedFd, Infallible>(ours.into())
        })
    }

    /// What of quarantines is left.
    fn left(&self) -> Vec<PathBuf> {
        let exports = fs::read_dir(self.folder.path().join("cache/exports")).unwrap();
        let paths = exports.map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with("lock")).collect()
    }
}

fn git_in(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    String::from_utf8_lossy(&raw_git_in(folder, arguments, input)).trim_end().to_owned()
}

fn raw_git_in(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Tool::find("git").unwrap().command();
    command.args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]);
    command.env("HOME", "/nowhere").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(folder).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {talk}");
    output.stdout
}

/// A guest that runs what it is asked to, and sends files.
fn honest(mut stream: UnixStream) {
    let Ok(Some(first)) = frame::read(&mut stream) else { return };
    match serde_json::from_slice(&first.payload).unwrap() {
        Request::Exec(exec) => {
            let tool = Tool::at(exec.argv[0].clone().into()).unwrap();
            let mut command = tool.command();
            command.args(&exec.argv[1..]).env("HOME", "/nowhere");
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            let mut piece = vec![0; frame::MAX_PAYLOAD];
            while let Ok(read @ 1..) = out.read(&mut piece) {
                frame::write(&mut stream, Kind::Stdout, &piece[..read]).unwrap();
            }
            let output = child.wait_with_output().unwrap();
            let talk = &output.stderr[..output.stderr.len().min(60_000)];
            frame::write(&mut stream, Kind::Stderr, talk).unwrap();
            let code = u8::try_from(output.status.code().unwrap()).unwrap();
            frame::write_json(&mut stream, Kind::Exit, &Exit::Code(code)).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// Every file below a folder with its content, and when it was changed.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            if about.is_dir() {
                folders.push(path.clone());
            }
            let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.push((path, content, about.modified().unwrap()));
        }
    }
    found.sort();
    found
}
