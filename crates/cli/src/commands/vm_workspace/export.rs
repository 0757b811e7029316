use super::opened::{Opened, first, interruptible};
use crate::export::{LandError, LandWorkError, ShowError, Stop, VerifyError};
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::git::Git;
use crate::git::inspect::global_identity;
use crate::printer;
use crate::workspace::shown;
use banger_copy::Unfinished;
use rustix::fs::Mode;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Export the changes made in a VM as a patch or branch
///
///     banger vm workspace export dev | git apply --index
///     banger vm workspace export dev -o work.patch
///     banger vm workspace export dev --branch fix
///
/// To review the changes first: `banger vm workspace diff dev`.
///
/// The patch contains everything since the repository was copied in: commits,
/// uncommitted edits, new files, and deletions. Ignored files are not exported. It
/// applies to the state that was copied in, uncommitted changes included; with
/// `--base-commit`, to that commit instead.
///
/// The branch contains the commits made in the VM, and one more commit for uncommitted
/// changes; `git log -p ..fix` shows them. It starts at the commit the VM started
/// from, so there are no conflicts until you merge it. Your working tree, index, and
/// other branches stay untouched, and so does the VM.
///
/// Both are made by git on this host, from objects it has verified. Changes that would
/// add a `.git`, a path outside the repository, or a submodule are refused.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Write the patch to this file; it must not exist [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "branch")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Make the patch against this commit of your repository [default: the state that was copied in]
    #[arg(long, value_name = "COMMIT", conflicts_with = "branch")]
    base_commit: Option<String>,
    /// Create this branch in your repository; it must not exist
    #[arg(short, long, value_name = "NAME")]
    branch: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        interruptible(|stop| {
            let opened = Opened::find(&self.vm)?;
            match &self.branch {
                Some(branch) => land(opened, branch, stop),
                None => self.patch(opened, stop),
            }
        })
    }

    fn patch(&self, mut opened: Opened, stop: &Stop) -> Outcome {
        let output = self.output.as_deref().filter(|path| *path != Path::new("-"));
        if let Some(path) = output
            && !self.force
            && path.symlink_metadata().is_ok()
        {
            return Err(is_there(path));
        }
        let work = opened.fetch(stop)?;
        let base = first(&opened, &work, self.base_commit.as_deref())?;
        let patch = work.patch(&base).map_err(|error| opened.not_shown(&error))?;
        let is_empty = patch.metadata().is_ok_and(|about| about.len() == 0);
        let filtered = work.filtered(&opened.repository).map_err(|error| Failure::of(&error))?;
        match output {
            _ if is_empty => printer::talk(format_args!("nothing was changed in VM {}", opened.vm)),
            None => pour(patch)?,
            Some(path) => {
                write(patch, path, self.force)?;
                printer::talk(format_args!(
                    "{} contains the changes of VM {}; `git apply --index {0}` applies it; add `--3way` if your files \
                     have changed since",
                    path.display(),
                    opened.vm
                ));
            }
        }
        tell_of_filters(&filtered);
        Ok(0)
    }
}

/// A patch has files as they lie here and there. Where a filter would keep one otherwise, git would compare it with that.
fn tell_of_filters(filtered: &[(Vec<u8>, String)]) {
    let Some((path, filter)) = filtered.first() else { return };
    let more = filtered.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    printer::talk(format_args!(
        "{}{more} is behind the filter {filter}: `git -c filter.{filter}.process= -c filter.{filter}.clean= -c \
         filter.{filter}.smudge= -c filter.{filter}.required=false apply` takes it as it lies",
        shown(path)
    ));
}

fn land(mut opened: Opened, branch: &str, stop: &Stop) -> Outcome {
    may_be_made(&opened.repository.git, branch, opened.repository.branch.as_deref())?;
    let work = opened.fetch(stop)?;
    let landed = work.land(&opened.repository, branch, &opened.vm, identity(&opened)?);
    match landed.map_err(|error| not_landed(&opened, branch, &error))? {
        None => printer::talk(format_args!(
            "nothing was changed in VM {}, so branch {branch} was not created",
            opened.vm
        )),
        Some(tip) => {
            let base = opened.workspace.head.as_deref().unwrap_or_default();
            let base = base.get(..12).unwrap_or(base);
            let dots = if base.is_empty() { "" } else { ".." };
            printer::talk(format_args!(
                "branch {branch} is at {}; `git log -p {base}{dots}{branch}` shows it, and `git merge {branch}` \
                 merges it",
                tip.short()
            ));
        }
    }
    Ok(0)
}

/// Before the guest is asked for anything.
fn may_be_made(git: &Git, branch: &str, checked_out: Option<&str>) -> Result<(), Failure> {
    let failed = |error| Failure::of(&error);
    let name = format!("refs/heads/{branch}");
    let is_name = !branch.starts_with('-') && branch != "HEAD";
    if !is_name || git.find(&["check-ref-format", &name]).map_err(failed)?.is_none() {
        return Err(Failure::usage(format!("`{branch}` is not a valid branch name")));
    }
    if git.find(&["rev-parse", "--quiet", "--verify", &name]).map_err(failed)?.is_some() {
        let hint = match checked_out {
            Some(checked_out) if checked_out == branch => {
                format!("it is the branch you are on; choose another name, such as `--branch {branch}-vm`")
            }
            _ => format!("choose another name, or delete the branch: `git branch -D {branch}`"),
        };
        return Err(Failure::message(format!("branch {branch} already exists")).with_hint(hint));
    }
    Ok(())
}

fn not_landed(opened: &Opened, branch: &str, error: &LandWorkError) -> Failure {
    let failure = Failure::of(error).reason_for(format!("branch {branch} was not created"));
    match error {
        LandWorkError::Judge(VerifyError::Refused(refused))
        | LandWorkError::Show(ShowError::Judge(VerifyError::Refused(refused))) => {
            failure.with_hint(opened.way_out(refused))
        }
        LandWorkError::Land(LandError::Branch(_)) => failure.with_hint(format!(
            "choose another name; `git branch --list` lists the existing ones, and `{branch}` cannot be \
             beside `{branch}/…`"
        )),
        LandWorkError::Judge(_) | LandWorkError::Show(_) | LandWorkError::Land(_) => failure,
    }
}

/// Who the user is to git; somebody has to be.
fn identity(opened: &Opened) -> Result<(String, String), Failure> {
    let own = &opened.repository.identity;
    let global = global_identity(&opened.repository.git).map_err(|error| Failure::of(&error))?;
    let name = own.name.clone().or(global.name).unwrap_or_else(|| "banger".to_owned());
    let email = own.email.clone().or(global.email).unwrap_or_else(|| "banger@localhost".to_owned());
    Ok((name, email))
}

fn is_there(path: &Path) -> Failure {
    Failure::message(format!("{} already exists", path.display())).with_hint("use `--force` to replace it")
}

/// The file is there when all of it is.
fn write(mut patch: File, path: &Path, replace: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(path),
        _ => Failure::of(&error).reason_for(format!("{} was not written", path.display())),
    };
    let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else {
        return Err(Failure::usage(format!("{} is not a file name", path.display())));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut written = || -> io::Result<()> {
        let mut file = Unfinished::begin(File::open(folder)?.into())?;
        io::copy(&mut patch, file.file())?;
        rustix::fs::fchmod(file.file(), Mode::from_raw_mode(0o600))?;
        if replace { file.publish(name) } else { file.publish_new(name) }
    };
    written().map_err(failed)
}

/// Bytes passed on at once.
const PIECE: usize = 64 << 10;

fn pour(mut patch: File) -> Result<(), Failure> {
    let mut out = printer::Foreign::to(rustix::stdio::stdout());
    let mut piece = vec![0; PIECE];
    let mut poured = || -> io::Result<()> {
        loop {
            match patch.read(&mut piece)? {
                0 => return Ok(()),
                read => out.write(&piece[..read])?,
            }
        }
    };
    let poured = poured().and_then(|()| out.end());
    poured.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(READER_GONE),
        _ => Failure::of(&error).reason_for("standard output was not written to"),
    })
}
