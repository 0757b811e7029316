use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::signals::Signals;
use crate::workspace::{Interrupt, Options, Source, guest_path, prepare, preview};
use banger_protocol::daemon_api::workspace::{Mode, Status};
use banger_protocol::names::VmRef;
use std::path::PathBuf;

/// Copy a git repository into a running VM, or update the copy
///
///     banger vm workspace prepare dev ./repo
///     banger vm workspace prepare dev            update the copy; only changes are sent
///     banger vm workspace prepare dev -n         show what would be sent
///
/// Copies the last ten commits and your uncommitted changes to tracked files. Changes
/// made in the VM are not overwritten. Then `banger vm exec dev -- CMD` runs commands
/// in the copy.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Git repository or directory [default: the one copied in before]
    path: Option<PathBuf>,
    #[command(flatten)]
    travel: Travel,
    /// List the files that would be copied, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Overwrite changes made in the VM, and files that already exist at the destination
    #[arg(long)]
    force: bool,
    /// Remove write permission from all copied files
    #[arg(long)]
    readonly: bool,
}

/// What of a folder travels.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Travel {
    /// Also copy untracked files that git does not ignore
    #[arg(long)]
    include_untracked: bool,
    /// What to copy
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ModeName::Shallow)]
    mode: ModeName,
    /// Create this branch in the VM and check it out
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Start the branch from this commit [default: the working tree]
    #[arg(long, value_name = "REF", requires = "branch")]
    from: Option<String>,
    /// Destination directory in the VM [default: /root/ and the directory's name]
    #[arg(long, value_name = "PATH", value_parser = guest_path)]
    guest_path: Option<String>,
}

/// A mode as it is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum ModeName {
    /// Recent commits, and uncommitted changes to tracked files
    #[default]
    Shallow,
    /// All files, including ignored files and submodules
    FullCopy,
}

impl Travel {
    /// Whether something was said that only a folder can mean.
    pub(in crate::commands) fn is_said(&self) -> bool {
        self.include_untracked
            || self.branch.is_some()
            || self.guest_path.is_some()
            || self.mode != ModeName::Shallow
    }

    pub(in crate::commands) fn into_options(self) -> Options {
        let mode = match self.mode {
            ModeName::Shallow => Mode::Shallow,
            ModeName::FullCopy => Mode::FullCopy,
        };
        let Self { include_untracked, branch, from, guest_path, .. } = self;
        Options { mode, include_untracked, branch, from, guest_path, ..Options::default() }
    }
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let mut daemon = Daemon::connect()?;
        let path = match self.path {
            Some(path) => path,
            None => prepared_before(&mut daemon, &vm)?,
        };
        let options = Options { force: self.force, readonly: self.readonly, ..self.travel.into_options() };
        let source = Source::look(&path, &options)?;
        let interrupt = Interrupt::default();
        let _caught = interrupt.catch(&signals);
        if self.dry_run {
            let list = preview(&mut daemon, &vm, &source, &options, &interrupt)?;
            printer::data(&list)?;
            return Ok(0);
        }
        let prepared = prepare(&mut daemon, &vm, &source, &options, &interrupt)?;
        printer::line(prepared.workspace.guest_path)?;
        Ok(0)
    }
}

/// The folder that a VM's workspace is of.
fn prepared_before(daemon: &mut Daemon, vm: &VmRef) -> Result<PathBuf, Failure> {
    let status = daemon.call(&Status { vm: vm.clone() })?;
    status.workspace.map(|workspace| workspace.host_path.into()).ok_or_else(|| {
        Failure::usage(format!("VM `{}` has no workspace yet", status.name))
            .with_hint(format!("give a path: `banger vm workspace prepare {} .`", status.name))
    })
}
