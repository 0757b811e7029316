//! `banger vm session`: commands in a VM that go on without whoever started them.
//!
//! All of it is between this program and the VM's agent; the daemon only opens the connections.

mod attach;
mod list;
mod logs;
mod rm;
mod send;
mod show;
mod signal;
mod start;
mod stop;
mod told;

pub(super) use start::{no_ssh_agent, start};

use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest;
use banger_protocol::daemon_api::vm::{Connect, Connected};
use banger_protocol::guest_api::session::Request;
use banger_protocol::names::VmRef;
use clap::Subcommand;
use serde::de::DeserializeOwned;
use std::os::unix::net::UnixStream;
use told::told;

/// Run commands in the background of a VM: servers, builds, shells
///
///     banger vm session start dev web -- npm start    start a session named web
///     banger vm session logs -f dev web               follow its output
///     banger vm session start -t dev work             start a shell to come back to
///     banger vm session attach dev work               attach to it; Ctrl-P Ctrl-Q detaches
///     banger vm session stop dev web                  stop it
///
/// Sessions keep running when this terminal closes or banger's daemon restarts. A
/// session ends with its command, with `stop`, or with the VM. The last 8 MiB of its
/// output are kept.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
pub(super) enum Session {
    Start(start::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    Attach(attach::Args),
    Logs(logs::Args),
    Send(send::Args),
    Signal(signal::Args),
    Stop(stop::Args),
    #[command(visible_alias = "delete")]
    Rm(rm::Args),
}

impl Session {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Start(args) => args.run(),
            Self::List(args) => args.run(),
            Self::Show(args) => args.run(),
            Self::Attach(args) => args.run(),
            Self::Logs(args) => args.run(),
            Self::Send(args) => args.run(),
            Self::Signal(args) => args.run(),
            Self::Stop(args) => args.run(),
            Self::Rm(args) => args.run(),
        }
    }
}

/// A connection to the agent of a VM, for one question.
fn agent_of(vm: &VmRef) -> Result<UnixStream, Failure> {
    connect(vm).map(|(_, agent)| agent)
}

/// The same, with what the daemon says of the VM.
fn connect(vm: &VmRef) -> Result<(Connected, UnixStream), Failure> {
    let (connected, agent) = Daemon::connect()?.call_receiving(&Connect { vm: vm.clone() })?;
    Ok((connected, UnixStream::from(agent)))
}

/// Asks a VM's agent what has one answer.
fn ask<T: DeserializeOwned>(vm: &VmRef, request: Request) -> Result<T, Failure> {
    guest::ask(agent_of(vm)?, request).map_err(|error| told(error, vm))
}
