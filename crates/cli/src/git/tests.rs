//! With real git, in repositories that try to run something.

use super::inspect::{DEPTH, Found, InspectError, Repository, inspect};
use super::*;
use std::os::unix::fs::PermissionsExt;

/// A repository in a folder of its own.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.root()).unwrap();
        place.git(&["init", "-q", "-b", "main"]);
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("repo")
    }

    /// As its owner types it.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.root(), arguments)
    }

    pub(crate) fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut command = Tool::find("git").unwrap().command();
        command.args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]);
        let output =
            command.current_dir(folder).env("HOME", self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn commit(&self, name: &str, content: &str) {
        self.write(name, content);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", name]);
    }

    fn repository(&self) -> Repository {
        repository_at(&self.root())
    }

    /// A program that leaves a trace.
    fn canary(&self) -> (PathBuf, PathBuf) {
        let (program, trace) = (self.folder.path().join("canary.sh"), self.folder.path().join("sang"));
        std::fs::write(&program, format!("#!/bin/sh\necho \"$0 $*\" >>{}\ncat\n", trace.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (program, trace)
    }
}

fn repository_at(path: &Path) -> Repository {
    match inspect(path).unwrap() {
        Found::Repository(repository) => *repository,
        Found::Folder(folder) => panic!("{} is a mere folder", folder.display()),
    }
}

/// Everything that is ever asked of a repository on the host.
fn look_at_everything(place: &Place) {
    let repository = place.repository();
    let head = repository.head.clone().unwrap();
    repository.index().unwrap();
    repository.changed_files().unwrap();
    repository.staged(&head).unwrap();
    repository.untracked().unwrap();
    repository.history(&head, DEPTH).unwrap();
    repository.commit("HEAD").unwrap();
}

#[test]
fn nothing_that_a_repository_brings_along_is_run_by_looking_at_it() {
    let attributes = "* filter=evil diff=evil merge=evil\n";
    let settings: [&[(&str, &str)]; 8] = [
        &[("core.fsmonitor", "X")],
        &[("core.hooksPath", "H")],
        &[("filter.evil.clean", "X"), ("filter.evil.smudge", "X"), ("filter.evil.required", "true")],
        &[("filter.evil.process", "X"), ("filter.evil.required", "true")],
        &[("diff.external", "X"), ("diff.evil.textconv", "X"), ("diff.evil.command", "X")],
        &[
            ("core.pager", "X"),
            ("pager.ls-files", "X"),
            ("core.alternateRefsCommand", "X"),
            ("core.askPass", "X"),
        ],
        &[
            ("alias.ls-files", "!X"),
            ("alias.rev-parse", "!X"),
            ("core.sshCommand", "X"),
            ("credential.helper", "!X"),
        ],
        &[("log.showSignature", "true"), ("gpg.program", "X")],
    ];
    for settings in settings {
        let place = Place::new();
        let (program, trace) = place.canary();
        place.write(".gitattributes", attributes);
        place.commit("file", "one\n");
        for hook in [
            "post-index-change",
            "pre-commit",
            "post-checkout",
            "reference-transaction",
            "fsmonitor-watchman",
        ] {
            std::fs::create_dir_all(place.root().join(".git/hooks")).unwrap();
            std::fs::copy(&program, place.root().join(".git/hooks").join(hook)).unwrap();
        }
        for (name, value) in settings {
            let value = value.replace('X', program.to_str().unwrap());
            let hooks = place.root().join(".git/hooks");
            let value = if value == "H" { hooks.to_str().unwrap().to_owned() } else { value };
            place.git(&["config", name, &value]);
        }
        let _ = std::fs::remove_file(&trace);
        place.write("file", "two\n");
        place.write("new", "new\n");
        look_at_everything(&place);
        assert!(!trace.exists(), "{settings:?}: {}", std::fs::read_to_string(&trace).unwrap());
    }
}

#[test]
fn an_included_file_of_settings_makes_nothing_run_either() {
    let place = Place::new();
    let (program, trace) = place.canary();
    let included = place.root().join(".git/more");
    std::fs::write(
        &included,
        format!("[core]\nfsmonitor = {0}\n[filter \"evil\"]\nclean = {0}\n", program.display()),
    )
    .unwrap();
    place.commit("file", "one\n");
    place.git(&["config", "include.path", included.to_str().unwrap()]);
    place.write(".gitattributes", "* filter=evil\n");
    place.write("file", "two\n");
    look_at_everything(&place);
    assert!(!trace.exists());
}

#[test]
fn what_a_partial_clone_lacks_is_not_fetched() {
    let place = Place::new();
    let (program, trace) = place.canary();
    place.commit("file", "one\n");
    place.git(&["config", "remote.origin.url", &format!("ext::{} %S", program.display())]);
    place.git(&["config", "remote.origin.promisor", "true"]);
    place.git(&["config", "protocol.ext.allow", "always"]);
    place.git(&["config", "extensions.partialClone", "origin"]);
    let blob = place.git(&["rev-parse", "HEAD:file"]);
    let object = place.root().join(".git/objects").join(&blob[..2]).join(blob[2..].trim());
    std::fs::remove_file(object).unwrap();
    let git = place.repository().git;
    assert!(git.run(&["cat-file", "blob", blob.trim()]).is_err());
    assert!(!trace.exists(), "{}", std::fs::read_to_string(&trace).unwrap());
}

#[test]
fn the_index_is_not_even_refreshed() {
    let place = Place::new();
    place.commit("file", "one\n");
    place.write("file", "one\n");
    let index = place.root().join(".git/index");
    let before = std::fs::read(&index).unwrap();
    look_at_everything(&place);
    assert_eq!(std::fs::read(&index).unwrap(), before);
}

#[test]
fn a_repository_that_calls_another_folder_its_own_is_refused() {
    let place = Place::new();
    place.commit("file", "one\n");
    let above = place.root().parent().unwrap().to_owned();
    place.git(&["config", "core.worktree", above.to_str().unwrap()]);
    assert!(matches!(inspect(&place.root()), Err(InspectError::Elsewhere { .. })));
}

#[test]
fn a_bare_repository_is_refused_and_a_folder_of_none_is_a_folder() {
    let place = Place::new();
    place.commit("file", "one\n");
    let beside = place.root().with_file_name("bare");
    place.git(&["clone", "-q", "--bare", ".", beside.to_str().unwrap()]);
    assert!(matches!(inspect(&beside), Err(InspectError::Bare(_))));
    assert!(matches!(inspect(&place.root().join(".git")), Err(InspectError::InsideGitFolder(_))));
    let folder = place.root().with_file_name("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(matches!(inspect(&folder), Ok(Found::Folder(found)) if found == folder));
    std::fs::write(folder.join(".git"), "gitdir: nowhere\n").unwrap();
    assert!(
        matches!(inspect(&folder), Err(InspectError::Broken { .. })),
        "half a repository was taken for a folder"
    );
    assert!(matches!(inspect(&folder.join("none")), Err(InspectError::Folder { .. })));
}

#[test]
fn whatever_way_a_repository_is_looked_at_it_says_where_it_stands() {
    let place = Place::new();
    let unborn = place.repository();
    assert_eq!((unborn.head, unborn.branch.as_deref()), (None, Some("main")));
    place.commit("sub/file", "one\n");
    place.git(&["remote", "add", "origin", "https://u:p@host/x.git"]);
    place.git(&["config", "user.email", "own@host"]);
    let head = place.git(&["rev-parse", "HEAD"]).trim().to_owned();

    let below = repository_at(&place.root().join("sub"));
    assert_eq!((below.root, below.below), (place.root(), "sub".into()));
    assert_eq!(below.origin.as_deref(), Some("https://host/x.git"));
    assert_eq!((below.identity.name, below.identity.email.as_deref()), (None, Some("own@host")));

    let tree = place.root().with_file_name("tree");
    place.git(&["worktree", "add", "-q", "-b", "other", tree.to_str().unwrap()]);
    let worktree = repository_at(&tree);
    assert_eq!((worktree.root, worktree.branch.as_deref()), (tree, Some("other")));

    place.git(&["checkout", "-q", "--detach"]);
    let detached = place.repository();
    assert_eq!((detached.head, detached.branch), (Some(head), None));
}

#[test]
fn history_goes_ten_commits_deep_and_ends_where_the_repository_does() {
    let place = Place::new();
    for number in 0..12 {
        place.commit("file", &number.to_string());
    }
    let repository = place.repository();
    let history = repository.history(repository.head.as_ref().unwrap(), DEPTH).unwrap();
    let oldest = place.git(&["rev-parse", "HEAD~9"]);
    assert_eq!(history.commits.len(), inspect::DEPTH);
    assert_eq!(history.boundary.iter().map(String::as_str).collect::<Vec<_>>(), [oldest.trim()]);

    let clone = place.root().with_file_name("clone");
    let source = format!("file://{}", place.root().display());
    place.git(&["clone", "-q", "--depth=3", &source, clone.to_str().unwrap()]);
    let shallow = repository_at(&clone);
    let history = shallow.history(shallow.head.as_ref().unwrap(), DEPTH).unwrap();
    assert_eq!((history.commits.len(), history.boundary.len()), (3, 1));
}

#[test]
fn an_error_says_what_git_said() {
    let place = Place::new();
    let error = Git::at(&place.root()).unwrap().run(&["cat-file", "blob", "nothing"]).unwrap_err();
    assert!(error.to_string().contains("Not a valid object name"), "{error}");
    assert!(
        Git::at(&place.root()).unwrap().find(&["rev-parse", "-q", "--verify", "none"]).unwrap().is_none()
    );
}
