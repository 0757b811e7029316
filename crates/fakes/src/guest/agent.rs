//! What the agent itself does in a real guest: commands and sessions, by the agent's own code.
//!
//! It runs in this process, with the little that the helper left it. Of terminals and of other users there are none,
//! output is kept in memory, and commands keep this process's environment. What is said passes through here, where
//! it waits while the guest stands still; a command is a process of this machine and goes on meanwhile.

use super::Guest;
use super::hold::Hold;
use banger_guest_agent::exec;
use banger_protocol::guest_api::Exec;
use banger_protocol::guest_api::session::Request;
use banger_protocol::image_config::ImageConfig;
use rustix::fd::OwnedFd;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

/// Runs a command for the host.
pub(super) fn execute(
    host: &UnixStream,
    guest: &Guest,
    command: &Exec,
    is_part_of_a_turn: bool,
) -> io::Result<()> {
    let run = if is_part_of_a_turn { exec::run_in_turn } else { exec::run };
    between(host, &guest.hold, |agent| run(agent, &at_home(command), &ImageConfig::default()))
}

/// Answers something about sessions.
pub(super) fn session(host: &UnixStream, guest: &Guest, request: &Request) -> io::Result<()> {
    let request = match request {
        Request::Start { name, command } => Request::Start { name: name.clone(), command: at_home(command) },
        request => request.clone(),
    };
    between(host, &guest.hold, |agent| guest.sessions.serve(agent, &request))
}

/// Offers the host's ssh agent to whoever this process is.
pub(super) fn offer_ssh_agent(host: &UnixStream, guest: &Guest) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let places = [std::env::current_dir()?];
    between(host, &guest.hold, |agent| {
        exec::offer_ssh_agent(agent, Some(&user), &ImageConfig::default(), &places)
    })
}

/// The command as this process can run it.
fn at_home(command: &Exec) -> Exec {
    Exec {
        env: std::env::vars().chain(command.env.clone()).collect(),
        cwd: command.cwd.clone().or_else(|| Some("/".to_owned())),
        user: Some(rustix::process::geteuid().as_raw().to_string()),
        ..command.clone()
    }
}

/// Has `agent` serve one end of a connection whose other end is the host.
fn between(
    host: &UnixStream,
    hold: &Hold,
    agent: impl FnOnce(OwnedFd) -> io::Result<()> + Send,
) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            carry(host, &ours, hold);
            let _ = ours.shutdown(Shutdown::Write);
        });
        let serving = scope.spawn(|| agent(theirs.into()));
        carry(&ours, host, hold);
        // Nobody listens to the host any more either.
        let _ = host.shutdown(Shutdown::Both);
        let _ = ours.shutdown(Shutdown::Both);
        serving.join().expect("the agent does not panic")
    })
}

/// Passes bytes on until there are no more, or nobody to take them.
fn carry(mut from: &UnixStream, mut to: &UnixStream, hold: &Hold) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        hold.pass();
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
