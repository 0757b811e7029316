use crate::failure::Outcome;
use crate::system::expect_root;
use crate::system::install::{Wish, install, tell};
use banger_system::Firewall;

/// Install banger for the whole machine, or bring what is installed up to this build.
///
/// `sudo banger system install --owner ada` makes two services, which start with the machine and serve one user: the
/// owner, or else whoever called sudo. Running VMs stay. Then `banger system status` says how it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whom it serves; whoever called sudo, unless said.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Let guests with --nat through somebody else's firewall too: `docker` adds marked rules to its chain for
    /// administrators, `firewalld` puts the bridge into the zone `trusted`. Uninstalling takes that back.
    #[arg(long, value_name = "WHOSE", value_parser = ["docker", "firewalld"])]
    firewall: Option<String>,
    /// Run Firecracker without its jailer.
    #[arg(long)]
    no_jailer: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        expect_root("install")?;
        let firewall = self.firewall.as_deref().and_then(Firewall::from_word);
        let (install, status) = install(&Wish { owner: self.owner, firewall, jailed: !self.no_jailer })?;
        tell(&install, &status);
        Ok(0)
    }
}
