//! What a guest may send and whom it reaches.
//!
//! ```text
//!  guest ── tap ──▶ bridge banger ──▶ inet banger ──▶ the host: echo, DNS
//!                   only as itself        │
//!                   never to a port       └─────────▶ the world: guests with NAT, and never what is not the world
//! ```
//!
//! The rules ([`ruleset`]) are nft's to read, and are put in place whole when they are not as they should be. Who is
//! in their sets changes with every VM and goes past nft ([`membership`]).
//!
//! Nothing is remembered that could not be found: who the guests are stands on their taps ([`Guest`]). What is
//! remembered saves looking: with which number of the kernel's the rules were right. Any change by anybody makes
//! another number, and then they are put in place again.

mod docker;
mod foreign;
mod forwarding;
mod guest;
mod membership;
mod nft;
mod ruleset;

pub(crate) use forwarding::Note;
pub(crate) use guest::Guest;

use crate::link::Netlink;
use banger_protocol::root_api::{ForeignChain, Settings, TapCreate};
use banger_protocol::wire::{ErrorKind, RpcError};
use membership::Kernel;
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FirewallError {
    #[error("the firewall was not set up: nft is not installed")]
    NoNft,
    #[error("the firewall was not set up: {what}")]
    Step {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the firewall was not set up: nft said {0}")]
    Refused(String),
    #[error("the rules of the host's other firewalls were not understood")]
    Foreign {
        #[source]
        source: io::Error,
    },
    #[error("iptables-legacy may have rules that stop guests, which nft does not show")]
    Unseen,
    #[error("{tap} was not {participle} in the firewall")]
    Member {
        tap: String,
        participle: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("packets of {tap} are not forwarded")]
    Forwarding {
        tap: String,
        #[source]
        source: io::Error,
    },
}

impl FirewallError {
    pub(crate) fn answer(&self) -> RpcError {
        match self {
            Self::NoNft => RpcError::from_error(ErrorKind::Unavailable, self).with_hint(nft::HINT),
            Self::Unseen => RpcError::from_error(ErrorKind::OperationFailed, self)
                .with_hint("`sudo iptables-legacy -S FORWARD` shows them; if it shows none, all is well"),
            _ => RpcError::from_error(ErrorKind::OperationFailed, self),
        }
    }
}

/// What is known of the rules in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Firewall {
    right: Option<Right>,
    kernel: Option<Kernel>,
    note: Note,
}

/// With this number of the kernel's the rules were ours, for these addresses.
#[derive(Debug, PartialEq, Eq)]
struct Right {
    generation: u32,
    barred: BTreeSet<Ipv4Addr>,
}

impl Firewall {
    pub(crate) fn noting(note: Note) -> Self {
        Self { note, ..Self::default() }
    }

    /// Puts the rules in place, unless they are; says whether they were not known to be.
    pub(crate) fn ensure(
        &mut self,
        settings: &Settings,
        barred: &BTreeSet<Ipv4Addr>,
    ) -> Result<bool, FirewallError> {
        let failed = |what| move |source| FirewallError::Step { what, source };
        let unknown = "it is not known whether it is";
        let found = self.ask(Kernel::generation).map_err(failed(unknown))?;
        if self.right.as_ref().is_some_and(|right| right.generation == found && right.barred == *barred) {
            return Ok(false);
        }
        self.right = None;
        let nft = settings.nft.as_deref().ok_or(FirewallError::NoNft)?;
        let links = Netlink::open().and_then(|mut netlink| netlink.links());
        let links = links.map_err(failed("the taps were not listed"))?;
        let guests: Vec<Guest> = links.iter().filter_map(Guest::of).collect();
        let rules = ruleset::render(settings, barred, &guests);
        let said = nft::apply(nft, &rules).map_err(failed("nft did not put the rules in place"))?;
        // The kernel's word, and not the program's: children are collected by nobody here, so how one ended is unknown.
        let now = self.ask(Kernel::generation).map_err(failed(unknown))?;
        if now == found {
            return Err(FirewallError::Refused(said));
        }
        self.note(found, now, barred.clone());
        tracing::info!(guests = guests.len(), "the firewall's rules were put in place");
        Ok(true)
    }

    /// Lets through what a guest may send, instead of what `before` was let.
    pub(crate) fn admit(&mut self, guest: &Guest, before: Option<&Guest>) -> Result<(), FirewallError> {
        if let Some(before) = before.filter(|before| before.address != guest.address) {
            self.expel(before)?;
        }
        self.change(guest, "admitted", Kernel::admit)?;
        if guest.nat {
            let failed = |source| FirewallError::Forwarding { tap: guest.tap.clone(), source };
            forwarding::switch_on(self.note).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets nothing through any more.
    pub(crate) fn expel(&mut self, guest: &Guest) -> Result<(), FirewallError> {
        match self.change(guest, "removed", Kernel::expel) {
            // Where there is no firewall it is in none.
            Err(FirewallError::Member { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    fn change(
        &mut self,
        guest: &Guest,
        participle: &'static str,
        act: impl FnOnce(&Kernel, &Guest) -> io::Result<()>,
    ) -> Result<(), FirewallError> {
        let failed = |source| FirewallError::Member { tap: guest.tap.clone(), participle, source };
        let right = self.right.take();
        let (found, now) = self
            .ask(|kernel| {
                let found = kernel.generation()?;
                act(kernel, guest)?;
                Ok((found, kernel.generation()?))
            })
            .map_err(failed)?;
        if let Some(right) = right.filter(|right| right.generation == found) {
            self.note(found, now, right.barred);
        }
        Ok(())
    }

    /// Asks the kernel; an error ends the conversation.
    fn ask<T>(&mut self, question: impl FnOnce(&Kernel) -> io::Result<T>) -> io::Result<T> {
        let kernel = self.kernel.take().map_or_else(Kernel::open, Ok)?;
        let answer = question(&kernel)?;
        self.kernel = Some(kernel);
        Ok(answer)
    }

    /// Rules that were right before one transaction of ours are right after it, if that was the only one.
    fn note(&mut self, before: u32, now: u32, barred: BTreeSet<Ipv4Addr>) {
        let only_ours = now.wrapping_sub(before) <= 1;
        self.right = only_ours.then_some(Right { generation: now, barred });
    }
}

/// Takes both tables away, and forwards no packets if that is how it was.
pub(crate) fn remove(settings: &Settings) -> Result<(), FirewallError> {
    let failed = |source| FirewallError::Step { what: "forwarding was not switched off again", source };
    forwarding::put_back().map_err(failed)?;
    let Some(nft) = settings.nft.as_deref() else { return Ok(()) };
    let failed = |source| FirewallError::Step { what: "nft did not take the rules away", source };
    // Deleting what is absent is an error to nft, adding what is there is none.
    let said = nft::apply(nft, &ruleset::render_none()).map_err(failed)?;
    if said.is_empty() { Ok(()) } else { Err(FirewallError::Refused(said)) }
}

/// Adds again what the install file says that was added to Docker's rules. What comes next asks whether guests get out, and
/// says so when they do not.
pub(crate) fn open_dockers(settings: &Settings) {
    match docker::add_again(settings) {
        Ok(false) => {}
        Ok(true) => tracing::info!("added the guests' rules to Docker's again"),
        Err(error) => tracing::warn!(%error, "the guests' rules were not added to Docker's again"),
    }
}

/// Chains of others that let no guest out, or no answer in.
pub(crate) fn foreign(settings: &Settings) -> Result<Vec<ForeignChain>, FirewallError> {
    let failed = |source| FirewallError::Foreign { source };
    let closed = foreign::closed(settings).map_err(failed)?;
    if closed.is_empty() && foreign::is_filtered_unseen() {
        return Err(FirewallError::Unseen);
    }
    Ok(closed)
}

/// The guest that a request describes.
pub(crate) fn guest_of(request: &TapCreate) -> Guest {
    Guest { tap: request.vm.tap_name(), address: request.address, nat: request.nat }
}
