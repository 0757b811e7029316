use crate::failure::Outcome;
use crate::system::expect_root;
use crate::system::install::{Wish, install, tell};
use banger_system::{Firewall, VmUids};

/// Install or upgrade the systemd services
///
/// `sudo banger system install --owner ada` installs two services that start at boot and serve one user. Run it again from a
/// newer build to upgrade; VMs keep running, and options not given stay as they were. Then `banger system status` shows the
/// result.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// User that the services run for [default: the user who called sudo]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Also allow `--nat` traffic through this firewall: `docker` adds marked rules to the DOCKER-USER chain, `firewalld` adds the
    /// bridge to the zone `trusted`. `none` reverts that, and so does `system uninstall`
    #[arg(long, value_name = "WHOSE", value_parser = ["docker", "firewalld", "none"])]
    firewall: Option<String>,
    /// Run Firecracker without its jailer, also after upgrades
    #[arg(long, conflicts_with = "jailer")]
    no_jailer: bool,
    /// Run Firecracker under its jailer again [default on first install]
    #[arg(long)]
    jailer: bool,
    /// Range of user IDs that VMs run as: at least 65536 that no other user of this host has
    #[arg(long, value_name = "FIRST-LAST")]
    vm_uids: Option<VmUids>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        expect_root("install")?;
        let jailed = match (self.jailer, self.no_jailer) {
            (false, false) => None,
            (jailed, _) => Some(jailed),
        };
        let wish = Wish {
            owner: self.owner,
            firewall: self.firewall.as_deref().map(Firewall::from_word),
            jailed,
            vm_uids: self.vm_uids,
        };
        let (install, status) = install(&wish)?;
        tell(&install, &status);
        Ok(0)
    }
}
