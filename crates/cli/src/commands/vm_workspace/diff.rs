use super::opened::{Opened, first, interruptible};
use crate::failure::Outcome;
use crate::printer;

/// Look at what was done in a VM.
///
///     banger vm workspace diff dev --stat    which files, and how much
///     banger vm workspace diff dev           all of it
///     banger vm workspace diff dev | less -R
///
/// It is what `banger vm workspace export dev` would take: everything since the
/// repository was brought in. Nothing changes here or there.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name, an id or the beginning of an id.
    vm: String,
    /// How much was changed in each file.
    #[arg(long)]
    stat: bool,
    /// Compare with this commit of yours instead of what the VM began with.
    #[arg(long, value_name = "COMMIT")]
    base_commit: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        interruptible(|stop| {
            let mut opened = Opened::find(&self.vm)?;
            let work = opened.fetch(stop)?;
            let base = first(&opened, &work, self.base_commit.as_deref())?;
            let colour =
                format!("--color={}", if printer::stdout_takes_colour() { "always" } else { "never" });
            let form = if self.stat { "--stat" } else { "--patch" };
            let mut out = printer::Foreign::with_colour(rustix::stdio::stdout());
            let mut written = Ok(());
            let shown = work.show(&base, &[&colour, form], |piece| {
                if written.is_ok() {
                    written = out.write(piece);
                }
            });
            let written = written.and_then(|()| out.end());
            written.map_err(|error| printer::output_failure(&error))?;
            shown.map_err(|error| opened.not_shown(&error))?;
            Ok(0)
        })
    }
}
