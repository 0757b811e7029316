use super::opened::{Opened, first, interruptible};
use crate::failure::Outcome;
use crate::printer;

/// Show the changes made in a VM
///
///     banger vm workspace diff dev --stat    summary per file
///     banger vm workspace diff dev           full diff
///     banger vm workspace diff dev | less -R
///
/// Shows what `banger vm workspace export dev` would export: everything since the
/// repository was copied in. Changes nothing on this host or in the VM.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Show only a summary per file
    #[arg(long)]
    stat: bool,
    /// Compare with this commit of your repository [default: the state that was copied in]
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
