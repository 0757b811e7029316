use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::system::install::{SetUpError, wait_until_answered};
use crate::system::{expect_root, systemd};
use banger_system::Install;

/// Restart the installed services; VMs keep running
///
/// As root, `banger system restart` returns when both services are ready. `banger system status` shows their state.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        expect_root("restart")?;
        if Install::read().map_err(SetUpError::Install)?.is_none() {
            return Err(Failure::message("nothing was restarted: banger is not installed")
                .with_hint("sudo banger system install"));
        }
        // Of a unit that failed too often systemd wants to hear that it may be tried again.
        for words in [
            &["reset-failed", "bangerd.service", "bangerd-root.service"][..],
            &["restart", "bangerd-root.socket", "bangerd.socket"],
            &["restart", "bangerd-root.service", "bangerd.service"],
        ] {
            systemd::ask(words).map_err(SetUpError::Systemd)?;
        }
        let status = wait_until_answered().map_err(SetUpError::Silent)?;
        printer::talk(format_args!("restarted; {} VMs are running", status.vms_running));
        Ok(0)
    }
}
