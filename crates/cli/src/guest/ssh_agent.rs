//! The user's ssh agent, asked on behalf of a guest while a command runs there.
//!
//! Keys stay where they are: what the guest gets is answers. It may ask which keys there are and have something signed, which
//! is what forwarding is for; whatever else it asks, above all to add, remove or lock keys, is refused here and never reaches
//! the agent. Each program in the guest has a connection of its own to the agent, which may bind it to a host.

use super::said;
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Kind, ReadFrameError};
use banger_protocol::guest_api::{MOST_SSH_AGENT_CLIENTS, MOST_SSH_AGENT_MESSAGE, Request};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What names the agent's socket, here and there.
pub(crate) const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// `SSH_AGENT_FAILURE`.
const FAILURE: u8 = 5;
/// `SSH_AGENTC_REQUEST_IDENTITIES`, `SSH_AGENTC_SIGN_REQUEST` and `SSH_AGENTC_EXTENSION`, by which a client says what host
/// it talks to.
const PASSED_ON: [u8; 3] = [11, 13, 27];
/// Longest path of a socket (`sun_path` without its NUL).
const LONGEST_PATH: usize = 107;

/// Why the user's ssh agent is not there for a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no ssh agent is running: {SSH_AUTH_SOCK} is not set")]
    None,
    #[error("the ssh agent at {} does not answer", path.display())]
    Silent { path: PathBuf, source: io::Error },
    #[error("the ssh agent was not forwarded to the guest")]
    Ask(#[source] io::Error),
    #[error("the guest agent refused: {}", said(&.0.message))]
    Refused(AgentFailure),
    #[error("the connection to the guest was lost")]
    Lost(#[source] Option<ReadFrameError>),
    #[error("the guest agent violated the protocol")]
    Protocol,
}

impl ForwardError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::None | Self::Silent { .. } => {
                Some("start one with `eval \"$(ssh-agent)\"` and add a key with `ssh-add`")
            }
            Self::Refused(_) => Some("the image needs a guest agent of this version: `banger image list`"),
            Self::Ask(_) | Self::Lost(_) | Self::Protocol => None,
        }
    }
}

/// The user's agent, which answered a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct SshAgent(PathBuf);

impl SshAgent {
    pub(crate) fn find() -> Result<Self, ForwardError> {
        let path = std::env::var_os(SSH_AUTH_SOCK).filter(|path| !path.is_empty());
        let path = PathBuf::from(path.ok_or(ForwardError::None)?);
        match UnixStream::connect(&path) {
            Ok(_) => Ok(Self(path)),
            Err(source) => Err(ForwardError::Silent { path, source }),
        }
    }

    /// Offers it to a user of the guest at the other end of a fresh connection to its agent, until the answer is dropped.
    pub(crate) fn offer(
        self,
        mut guest: UnixStream,
        user: Option<String>,
    ) -> Result<Forwarded, ForwardError> {
        frame::write_json(&mut guest, Kind::Request, &Request::SshAgent { user })
            .map_err(ForwardError::Ask)?;
        let first = frame::read(&mut guest).map_err(|error| ForwardError::Lost(Some(error)))?;
        let first = first.ok_or(ForwardError::Lost(None))?;
        let path = match first.kind {
            Kind::Item => serde_json::from_slice::<String>(&first.payload).ok(),
            Kind::Error => {
                let failure = serde_json::from_slice(&first.payload).map_err(|_| ForwardError::Protocol)?;
                return Err(ForwardError::Refused(failure));
            }
            _ => None,
        };
        let is_path =
            |path: &String| path.starts_with('/') && path.len() <= LONGEST_PATH && !path.contains('\0');
        let path = path.filter(is_path).ok_or(ForwardError::Protocol)?;
        let connection = guest.try_clone().map_err(ForwardError::Ask)?;
        // It ends with the connection.
        std::thread::spawn(move || relay(guest, &self.0));
        Ok(Forwarded { path, connection })
    }
}

/// An agent that is there for a guest. On drop it is no longer, and the socket goes.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// Of the socket in the guest.
    pub path: String,
    connection: UnixStream,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // One that broke off has ended already.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

/// Answers the guest until it is gone or says what makes no sense.
fn relay(mut guest: UnixStream, agent: &Path) {
    let mut clients: BTreeMap<[u8; 4], UnixStream> = BTreeMap::new();
    while let Ok(Some(frame)) = frame::read(&mut guest) {
        let Some((client, question)) =
            frame.payload.split_first_chunk().filter(|_| frame.kind == Kind::SshAgent)
        else {
            break;
        };
        if question.is_empty() {
            clients.remove(client);
            continue;
        }
        let answer = answer(&mut clients, *client, question, agent).unwrap_or_else(|_| {
            clients.remove(client);
            vec![FAILURE]
        });
        if frame::write(&mut guest, Kind::SshAgent, &[&client[..], &answer].concat()).is_err() {
            break;
        }
    }
    // A guest that broke the protocol is not talked to any further.
    let _ = guest.shutdown(Shutdown::Both);
}

fn answer(
    clients: &mut BTreeMap<[u8; 4], UnixStream>,
    client: [u8; 4],
    question: &[u8],
    agent: &Path,
) -> io::Result<Vec<u8>> {
    let is_passed_on = question.first().is_some_and(|kind| PASSED_ON.contains(kind));
    if !is_passed_on || (clients.len() >= MOST_SSH_AGENT_CLIENTS && !clients.contains_key(&client)) {
        return Ok(vec![FAILURE]);
    }
    let agent = match clients.entry(client) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(new) => new.insert(UnixStream::connect(agent)?),
    };
    let length = u32::try_from(question.len()).map_err(io::Error::other)?;
    agent.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 4];
    agent.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(1..=MOST_SSH_AGENT_MESSAGE).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    /// A guest that was offered an agent which answers each question with itself, and how often that was connected to.
    fn scene() -> (tempfile::TempDir, UnixStream, Forwarded, std::sync::mpsc::Receiver<()>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let (connected, count) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let _ = connected.send(());
                std::thread::spawn(move || io::copy(&mut client.try_clone().unwrap(), &mut client));
            }
        });
        let (ours, mut guest) = UnixStream::pair().unwrap();
        guest.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        frame::write_json(&mut guest, Kind::Item, &"/run/x/agent").unwrap();
        let forwarded = SshAgent(path).offer(ours, None).unwrap();
        assert_eq!(frame::read(&mut guest).unwrap().unwrap().kind, Kind::Request);
        (folder, guest, forwarded, count)
    }

    fn asked(guest: &mut UnixStream, client: u8, question: &[u8]) -> Vec<u8> {
        frame::write(guest, Kind::SshAgent, &[&[client, 0, 0, 0], question].concat()).unwrap();
        let answer = frame::read(guest).unwrap().unwrap().payload;
        answer.strip_prefix(&[client, 0, 0, 0]).unwrap().to_vec()
    }

    #[test]
    fn a_guest_has_keys_listed_and_used_and_nothing_else_done_with_them() {
        let (_folder, mut guest, forwarded, count) = scene();
        for kind in [11, 13, 27] {
            assert_eq!(asked(&mut guest, 1, &[kind, 7]), [kind, 7]);
        }
        assert_eq!(count.try_iter().count(), 1);
        for kind in (0..=255).filter(|kind| !PASSED_ON.contains(kind)) {
            assert_eq!(asked(&mut guest, 2, &[kind]), [FAILURE], "{kind}");
        }
        assert_eq!(count.try_iter().count(), 0, "it was asked all the same");
        drop(forwarded);
        assert!(frame::read(&mut guest).unwrap().is_none());
    }

    #[test]
    fn only_so_many_programs_of_a_guest_are_answered_at_a_time() {
        let (_folder, mut guest, _forwarded, _count) = scene();
        for client in 0..16 {
            assert_eq!(asked(&mut guest, client, &[11]), [11]);
        }
        assert_eq!(asked(&mut guest, 16, &[11]), [FAILURE]);
        frame::write(&mut guest, Kind::SshAgent, &[3, 0, 0, 0]).unwrap();
        assert_eq!(asked(&mut guest, 16, &[11]), [11]);
    }

    #[test]
    fn a_guest_that_says_what_makes_no_sense_is_hung_up_on() {
        for (kind, payload) in [(Kind::SshAgent, &[1, 2][..]), (Kind::Stdout, b"abcdefgh")] {
            let (_folder, mut guest, _forwarded, _count) = scene();
            frame::write(&mut guest, kind, payload).unwrap();
            assert!(frame::read(&mut guest).unwrap().is_none());
        }
    }

    #[test]
    fn a_socket_that_is_no_path_is_not_believed() {
        for path in ["", "relative", &format!("/{}", "x".repeat(200)), "/a\0b"] {
            let (ours, mut guest) = UnixStream::pair().unwrap();
            frame::write_json(&mut guest, Kind::Item, &path).unwrap();
            let offered = SshAgent("/none".into()).offer(ours, None);
            assert!(matches!(offered, Err(ForwardError::Protocol)), "{path}");
        }
    }
}
