use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::signals::Signals;
use crate::workspace::{Interrupt, Options, Source, guest_path, prepare, preview};
use banger_protocol::daemon_api::workspace::{Mode, Status};
use banger_protocol::names::VmRef;
use std::path::PathBuf;

/// Bring a repository into a running VM, or up to date there.
///
///     banger vm workspace prepare dev ./repo
///     banger vm workspace prepare dev            the same again: only what changed travels
///     banger vm workspace prepare dev -n         say what would
///
/// The last ten commits go in, and over them what the working tree changes in files
/// that git knows. What was changed in the VM meanwhile is not overwritten. Then
/// `banger vm exec dev -- CMD` runs in it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// A folder here; the one that was brought in before if not given.
    path: Option<PathBuf>,
    #[command(flatten)]
    travel: Travel,
    /// Print what would travel, a line for each file, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Overwrite what was changed in the VM, and lay over what is there already.
    #[arg(long)]
    force: bool,
    /// Take the right to write from every file there.
    #[arg(long)]
    readonly: bool,
}

/// What of a folder travels.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Travel {
    /// Bring along files that git does not know, unless it ignores them.
    #[arg(long)]
    include_untracked: bool,
    /// Only the last commits and what the working tree changes in them, or every file there is.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = ModeName::Shallow)]
    mode: ModeName,
    /// Make this branch in the VM and be on it.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Start that branch from this commit instead of from the working tree.
    #[arg(long, value_name = "REF", requires = "branch")]
    from: Option<String>,
    /// Where it goes in the VM; /root and the folder's name if not given.
    #[arg(long, value_name = "PATH", value_parser = guest_path)]
    guest_path: Option<String>,
}

/// A mode as it is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum ModeName {
    /// The last commits, and what the working tree changes in them.
    #[default]
    Shallow,
    /// Every file, those of submodules and ignored ones too.
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
        Failure::usage(format!("nothing was brought into VM `{}` yet", status.name))
            .with_hint(format!("name a folder: `banger vm workspace prepare {} .`", status.name))
    })
}
