//! The guests' way out of their network: one [`pasta`] for all who have NAT, there for as long as one of them is up.
//!
//! Who has NAT is looked up in the helper's namespace and not in the records: a tap is there before the way out is
//! opened for it, and gone before it is closed, so whoever comes last closes it, however many go at once.
//!
//! | the daemon starts and finds | then |
//! |---|---|
//! | one, its link in the helper's namespace, a guest with NAT | kept: connections through it go on |
//! | one without its link: it served a namespace that is gone | ended, as are several, and those for nobody |
//! | none, and a guest with NAT | a new one |
//!
//! One that ends by itself is replaced ([`keep`]).

use super::effect::{Effect, EffectError, perform};
use super::network_tools::{MissingTool, NetworkTools};
use crate::Services;
use crate::client::helper::{Helper, HelperError};
use crate::client::pasta::{self, PastaError, Place};
use crate::network::foreign;
use crate::store::VmRecord;
use banger_protocol::root_api::{
    FirewallForeign, ForeignChain, Inventory, InventoryRequest, ProcessIdentity,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long one that ended is missed: one that cannot live here is not started more often than that.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon it is tried again to make one that could not be made.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Why there is no way out, or still one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    #[error(transparent)]
    Missing(MissingTool),
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error("the helper ended")]
    NoHelper,
    #[error(transparent)]
    Pasta(#[from] PastaError),
    #[error("another firewall of this host drops what guests send: {name}")]
    Closed { name: String, command: String },
}

impl EgressError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(missing) => Some(missing.hint()),
            Self::Helper(error) => error.hint(),
            Self::Closed { command, .. } => Some(command.clone()),
            Self::NoHelper | Self::Pasta(_) => None,
        }
    }
}

/// Which pasta is the present one, if there is any.
#[derive(Debug)]
pub(crate) struct Egress {
    place: Place,
    current: watch::Sender<Option<ProcessIdentity>>,
    /// Held while one is started or ended.
    turn: Mutex<()>,
}

impl Egress {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, current: watch::Sender::new(None), turn: Mutex::default() }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there is one; blocks.
    pub(super) fn open(&self, tools: &NetworkTools, helper: &Helper) -> Result<(), EgressError> {
        if !tools.needs_pasta() {
            return through_other_firewalls(helper);
        }
        let _turn = self.turn();
        let lives = self.current.borrow().is_some_and(crate::process::is_alive);
        // One that lives may have been left by a namespace that is gone.
        if lives && look(helper)?.is_some_and(|found| found.egress) {
            return Ok(());
        }
        self.replace(tools, helper)
    }

    fn replace(&self, tools: &NetworkTools, helper: &Helper) -> Result<(), EgressError> {
        self.end_all()?;
        let program = tools.pasta().map_err(EgressError::Missing)?;
        let helper = helper.pid().ok_or(EgressError::NoHelper)?;
        let process = pasta::start(program, &self.place, helper)?;
        tracing::info!(pid = process.pid, "opened the guests' way out");
        self.current.send_replace(Some(process));
        Ok(())
    }

    /// Ends it when no guest has NAT any more; blocks. Where there is none nobody is asked.
    pub(super) fn close_unless_needed(&self, helper: &Helper) -> Result<(), EgressError> {
        let _turn = self.turn();
        if self.current.borrow().is_none() || has_nat(look(helper)?.as_ref()) {
            return Ok(());
        }
        self.end_all()
    }

    fn end_all(&self) -> Result<(), EgressError> {
        // First, so that who watches it knows that it was us.
        self.current.send_replace(None);
        for process in pasta::find(&self.place.mark) {
            pasta::end(process)?;
            tracing::info!(pid = process.pid, "closed the guests' way out");
        }
        // What it left of itself is of no use to anybody.
        let _ = std::fs::remove_file(&self.place.mark);
        Ok(())
    }

    /// Takes over what a former daemon left, or does away with it; blocks.
    fn adopt(&self, tools: &NetworkTools, helper: &Helper) -> Result<(), EgressError> {
        let _turn = self.turn();
        let inventory = look(helper)?;
        match (pasta::find(&self.place.mark).as_slice(), has_nat(inventory.as_ref())) {
            ([process], true) if inventory.is_some_and(|found| found.egress) => {
                tracing::info!(pid = process.pid, "adopted the guests' way out");
                self.current.send_replace(Some(*process));
                Ok(())
            }
            // Whether there is to be one is seen to in a moment.
            ([], _) => Ok(()),
            (_, true) => self.replace(tools, helper),
            (_, false) => self.end_all(),
        }
    }

    /// Makes one if one is needed and none lives; blocks.
    fn mend(&self, tools: &NetworkTools, helper: &Helper) -> Result<(), EgressError> {
        if !tools.needs_pasta() {
            return Ok(());
        }
        let _turn = self.turn();
        let present = *self.current.borrow();
        if present.is_some_and(crate::process::is_alive) || !has_nat(look(helper)?.as_ref()) {
            return Ok(());
        }
        if let Some(ended) = present {
            tracing::warn!(pid = ended.pid, "the guests' way out ended");
        }
        self.replace(tools, helper)
    }
}

/// Where the host forwards what guests send, that nobody else drops it.
fn through_other_firewalls(helper: &Helper) -> Result<(), EgressError> {
    judge(helper.call(&FirewallForeign {}, &[]), helper.bridge())
}

/// Rules that could not be read stop nobody: most hosts' let guests through. The doctor tells of them. Pure but for the log.
fn judge(found: Result<Vec<ForeignChain>, HelperError>, bridge: &str) -> Result<(), EgressError> {
    match found {
        Ok(closed) => closed.first().map_or(Ok(()), |chain| {
            Err(EgressError::Closed { name: foreign::name(chain), command: foreign::command(chain, bridge) })
        }),
        Err(error @ HelperError::Refused { .. }) => {
            tracing::warn!(?error, "not known whether another firewall drops what guests send");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// What there is in the guests' network, if anything is.
fn look(helper: &Helper) -> Result<Option<Inventory>, EgressError> {
    Ok(helper.call_if_anything_lives(&InventoryRequest {})?)
}

fn has_nat(inventory: Option<&Inventory>) -> bool {
    inventory.is_some_and(|found| !found.nat.is_empty())
}

/// Gives a running guest what is wanted of its network. The caller holds the VM's lock.
pub(super) async fn connect(services: &Arc<Services>, vm: &VmRecord, nat: bool) -> Result<(), EffectError> {
    perform(services, &vm.id, Effect::EnsureNetwork).await?;
    perform(services, &vm.id, Effect::CreateTap { address: vm.address, nat }).await?;
    let way_out = if nat { Effect::OpenEgress } else { Effect::CloseEgress };
    perform(services, &vm.id, way_out).await.map(drop)
}

/// Takes over what there is of a way out. Before anybody asks for one: theirs would take its place.
pub(crate) async fn adopt(services: &Arc<Services>) {
    in_background(services, |s| s.egress.adopt(&s.network_tools, &s.helper)).await;
}

/// Sees to it, for as long as the daemon lives, that there is a way out while one is needed.
pub(crate) async fn keep(services: Arc<Services>) {
    let mut current = services.egress.current.subscribe();
    loop {
        let mended = in_background(&services, |s| s.egress.mend(&s.network_tools, &s.helper)).await;
        let present = *current.borrow_and_update();
        let missed = async {
            match present {
                // One that cannot be watched is looked at again in a while.
                Some(process) => drop(crate::process::ended(process).await),
                None if mended => std::future::pending().await,
                None => tokio::time::sleep(TRY_AGAIN).await,
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            changed = current.changed() => if changed.is_err() { return },
            () = missed => {}
        }
    }
}

/// Says whether it was done.
async fn in_background(
    services: &Arc<Services>,
    act: impl FnOnce(&Services) -> Result<(), EgressError> + Send + 'static,
) -> bool {
    let services = services.clone();
    match tokio::task::spawn_blocking(move || act(&services)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::error!(?error, "guests with NAT may have no way out"),
        Err(error) => tracing::error!(%error, "guests with NAT may have no way out"),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::root_api::ForeignKind;
    use banger_protocol::wire::{ErrorKind, RpcError};

    #[test]
    fn only_a_firewall_that_is_known_to_drop_what_guests_send_keeps_them_from_starting() {
        let [family, table, chain] = ["ip", "filter", "FORWARD"].map(str::to_owned);
        let chain = ForeignChain { family, table, chain, kind: ForeignKind::Docker };
        let closed = judge(Ok(vec![chain]), "br-x").unwrap_err();
        assert_eq!(closed.hint().as_deref(), Some("sudo banger system install --firewall=docker"));
        assert!(judge(Ok(Vec::new()), "br-x").is_ok());
        let source = RpcError::new(ErrorKind::OperationFailed, "nft did not tell");
        assert!(judge(Err(HelperError::Refused { method: "firewall.foreign", source }), "br-x").is_ok());
        assert!(judge(Err(HelperError::Stuck), "br-x").is_err());
    }
}
