use crate::failure::Outcome;
use crate::system::expect_root;
use crate::system::install::{Wish, install, tell};
use banger_system::Firewall;

/// Install or upgrade the systemd services
///
/// `sudo banger system install --owner ada` installs two services that start at boot and serve one user. Run it again from a
/// newer build to upgrade; VMs keep running. Then `banger system status` shows the result.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// User that the services run for [default: the user who called sudo]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Also allow `--nat` traffic through this firewall: `docker` adds marked rules to the DOCKER-USER chain, `firewalld` adds the
    /// bridge to the zone `trusted`. `system uninstall` reverts that
    #[arg(long, value_name = "WHOSE", value_parser = ["docker", "firewalld"])]
    firewall: Option<String>,
    /// Run Firecracker without its jailer
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
