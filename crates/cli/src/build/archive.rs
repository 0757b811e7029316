//! One run of a package tool: an archive comes out, or nothing is left.

use super::{Builder, debian};
use crate::failure::Failure;
use crate::signals::{asks_to_end, exit_code};
use crate::tool::{NotInstalled, Tool};
use banger_protocol::local_paths::{PrivateFolderError, make_private_folder};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// How much of what the tool said an error shows.
const SHOWN_LINES: usize = 12;

/// This program, even if its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Longest line that is looked at; a tool that writes more on one line is only cut.
const LONGEST_LINE: u64 = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    NotInstalled(NotInstalled),
    #[error("there is no temporary directory to build in")]
    Folder(#[source] PrivateFolderError),
    #[error("cannot create a temporary file in {}", folder.display())]
    TemporaryFile {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be run", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{OWN_PROGRAM} cannot be run")]
    NoKeeper,
    #[error("the output of the build cannot be read")]
    Read(#[source] io::Error),
    #[error("mmdebstrap exited with {status}:\n{said}")]
    Failed { status: ExitStatus, said: String },
    #[error("it was interrupted")]
    Interrupted { signal: i32 },
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let hint = match &error {
            BuildError::Interrupted { signal } => return Self::quiet(exit_code(*signal)),
            BuildError::NotInstalled(_) => Some(debian::INSTALL_HINT),
            BuildError::Failed { said, .. } => debian::failure_hint(said),
            BuildError::Folder(_)
            | BuildError::TemporaryFile { .. }
            | BuildError::Spawn { .. }
            | BuildError::NoKeeper
            | BuildError::Read(_) => None,
        };
        let failure = Self::of(&error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Builds the archive into a file without a name, so that nothing is left of it when the last who holds it ends.
pub(super) fn build(
    builder: &Builder<'_>,
    suite: &str,
    packages: &[String],
    kind: debian::Kind,
) -> Result<File, BuildError> {
    let tool = Tool::find(debian::PROGRAM).map_err(BuildError::NotInstalled)?;
    let uid = rustix::process::geteuid().as_raw();
    let folder = &builder.paths.cache;
    make_private_folder(folder, uid).map_err(BuildError::Folder)?;
    let temporary = |source| BuildError::TemporaryFile { folder: folder.clone(), source };
    let archive = tempfile::tempfile_in(folder).map_err(temporary)?;
    let mode = debian::Mode::for_uid(uid);
    let arguments = debian::arguments(
        kind,
        mode,
        suite,
        packages,
        builder.config.debian_mirror.as_ref().map(|mirror| mirror.value.as_str()),
    );
    let keeper = Tool::at(OWN_PROGRAM.into()).ok_or(BuildError::NoKeeper)?;
    let mut command = keeper.command();
    command
        .args(["internal", "build", "--"])
        .arg(tool.path())
        .args(arguments)
        .current_dir("/")
        // Ends when this process does, even by SIGKILL: then the build is ended.
        .stdin(Stdio::piped())
        .stdout(archive.try_clone().map_err(temporary)?)
        .stderr(Stdio::piped())
        // A group of its own, so that Ctrl-C reaches it from here, once, and with all of its children.
        .process_group(0);
    // Before the handler knows its group nothing else would end it.
    let held = builder.signals.hold();
    let spawned = command.spawn();
    let mut child =
        spawned.map_err(|source| BuildError::Spawn { program: tool.path().to_owned(), source })?;

    let alive = child.stdin.take();
    let caught = Arc::new(AtomicI32::new(0));
    let group = Pid::from_child(&child);
    let directed = builder.signals.direct({
        let caught = Arc::clone(&caught);
        move |signal| end_group(group, &caught, signal)
    });
    drop(held);
    let said = match child.stderr.take() {
        Some(stderr) => listen(stderr, |stage| builder.progress.stage(stage)),
        None => Ok(String::new()),
    };
    let status = child.wait().map_err(BuildError::Read)?;
    drop((directed, alive));
    match caught.load(Ordering::SeqCst) {
        0 if status.success() => said.map(|_| archive).map_err(BuildError::Read),
        0 => Err(BuildError::Failed { status, said: said.map_err(BuildError::Read)? }),
        signal => Err(BuildError::Interrupted { signal }),
    }
}

/// The first signal lets the tool remove what it made, the second does not. It is passed on as SIGTERM: a shell
/// starts its background children deaf to SIGINT.
fn end_group(group: Pid, caught: &AtomicI32, signal: i32) {
    if !asks_to_end(signal) {
        return;
    }
    let again = caught.swap(signal, Ordering::SeqCst) != 0;
    // A group that is gone already has ended, which is what was asked for.
    let _ = kill_process_group(group, if again { Signal::KILL } else { Signal::TERM });
}

/// Reads until the end; tells each stage and keeps the last lines.
fn listen(from: impl Read, mut on_stage: impl FnMut(&str)) -> io::Result<String> {
    let mut from = BufReader::new(from);
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(last.make_contiguous().join("\n"));
        }
        let text = String::from_utf8_lossy(&line);
        // A line that is rewritten in place counts as what it came to.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        if let Some(stage) = debian::stage(text) {
            on_stage(stage);
        }
        if last.len() == SHOWN_LINES {
            last.pop_front();
        }
        last.push_back(format!("  {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_and_only_the_last_lines_are_kept() {
        let mut text = String::from("I: running apt-get update...\n 10%\r 90%\r\n");
        (0..SHOWN_LINES).for_each(|line| text.push_str(&format!("E: {line}\n")));
        let mut stages = Vec::new();
        let said = listen(text.as_bytes(), |stage| stages.push(stage.to_owned())).unwrap();
        assert_eq!(stages, ["running apt-get update"]);
        assert_eq!(said.lines().count(), SHOWN_LINES);
        assert!(said.starts_with("  E: 0\n") && said.ends_with("  E: 11"), "{said}");
    }

    #[test]
    fn an_endless_line_is_cut_and_bytes_that_are_no_text_are_survived() {
        let mut bytes = vec![b'x'; 100_000];
        bytes.extend_from_slice(b"\xff\xfe\nE: end\n");
        assert!(listen(bytes.as_slice(), |_| {}).unwrap().ends_with("E: end"));
    }
}
