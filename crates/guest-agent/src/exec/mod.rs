//! Running a command for the host.
//!
//! [`run`] owns one connection from the moment its request was read until the last frame is written. It decides
//! who the command runs as ([`users`]), what its environment is ([`environment`]) and which file is executed
//! ([`program`]), starts it ([`spawn`]) and then moves bytes ([`exchange`]).
//!
//! An exchange is one thread around one `poll`, with every descriptor non-blocking. So nothing can get stuck behind
//! anything else: a signal arrives while input is not read, an exit is seen while a grandchild still holds the
//! output, and a host that went away is noticed at once.

pub(crate) mod ended;
mod environment;
mod exchange;
pub(crate) mod incoming;
mod program;
pub(crate) mod reaper;
mod remains;
pub(crate) mod spawn;
mod ssh_agent;
mod users;

pub(crate) use ssh_agent::PLACES as SSH_AGENT_PLACES;
pub use ssh_agent::offer_ssh_agent;

use crate::causes::with_causes;
use banger_protocol::guest_api::{Exec, Exit, frame};
use banger_protocol::image_config::ImageConfig;
use remains::Remains;
use rustix::fd::OwnedFd;
use spawn::Besides;
use std::io;

/// Carries out `exec` for the host at the other end of `connection`, in a guest of an image that says `image`.
///
/// # Errors
/// When the connection breaks before the command started. Later than that a broken connection is the host going
/// away: the command's process group gets SIGHUP.
pub fn run(connection: OwnedFd, exec: &Exec, image: &ImageConfig) -> io::Result<()> {
    let mut connection = std::fs::File::from(connection);
    match spawn::start(exec, image, Besides::default()) {
        Ok(running) => {
            frame::write(&mut connection, frame::Kind::Started, &[])?;
            exchange::run(connection.into(), running, None)
        }
        Err(refusal) => refuse(connection, &refusal),
    }
}

/// The same as part of a turn: if the host goes away first, nothing is left of the command afterwards.
///
/// # Errors
/// When nothing was started.
pub fn run_in_turn(connection: OwnedFd, exec: &Exec, image: &ImageConfig) -> io::Result<()> {
    let mut connection = std::fs::File::from(connection);
    let (remains, sign_of_life) = Remains::none()?;
    match spawn::start(exec, image, Besides { sign_of_life: Some(sign_of_life), ..Besides::default() }) {
        Ok(running) => {
            // A host that does not hear this is gone, which the exchange notices.
            let _ = frame::write(&mut connection, frame::Kind::Started, &[]);
            exchange::run(connection.into(), running, Some(&remains))
        }
        Err(refusal) => refuse(connection, &refusal),
    }
}

fn refuse(mut connection: std::fs::File, refusal: &spawn::StartError) -> io::Result<()> {
    let exit = Exit::NotStarted { code: refusal.shell_code(), reason: with_causes(refusal) };
    frame::write_json(&mut connection, frame::Kind::Exit, &exit)
}
