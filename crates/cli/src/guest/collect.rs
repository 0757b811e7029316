//! One command whose output is for this program, not for the user.

use super::said;
use banger_protocol::guest_api::frame::{self, Failure as AgentFailure, Frame, Kind, ReadFrameError};
use banger_protocol::guest_api::{Exec, Exit, Request};
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How much of what a command says on stderr is kept, in bytes.
const MOST_TALK: usize = 64 << 10;

/// Why a command's output was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError<E: std::error::Error + 'static> {
    #[error("the command could not be sent to the guest")]
    Send(#[source] io::Error),
    #[error("the guest agent refused: {}", said(&.0.message))]
    Refused(AgentFailure),
    #[error("the connection to the guest was lost, or nothing came for too long")]
    Lost(#[source] Option<ReadFrameError>),
    #[error("the guest agent violated the protocol")]
    Protocol,
    /// Whoever takes the output does not want this.
    #[error(transparent)]
    Unwanted(E),
}

/// What a command left besides its output.
#[derive(Debug)]
pub(crate) struct Collected {
    pub exit: Exit,
    /// The end of what it said, fit for one line.
    pub talk: String,
}

/// Runs `command` without input and gives what it writes to `take`, piece by piece. A guest that says nothing for
/// `silence` is given up.
///
/// # Errors
/// When the command's end is not known, or `take` refuses a piece.
pub(crate) fn collect<E: std::error::Error + 'static>(
    mut agent: &UnixStream,
    command: &Exec,
    silence: Duration,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Collected, CollectError<E>> {
    agent.set_read_timeout(Some(silence)).map_err(CollectError::Send)?;
    frame::write_json(&mut agent, Kind::Request, &Request::Exec(command.clone()))
        .map_err(CollectError::Send)?;
    let mut agent = BufReader::with_capacity(frame::MAX_PAYLOAD, agent);
    let mut talk = Vec::new();
    loop {
        let Frame { kind, payload } = match frame::read(&mut agent) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(CollectError::Lost(None)),
            Err(error) => return Err(CollectError::Lost(Some(error))),
        };
        match kind {
            Kind::Started | Kind::StdinCredit => {}
            Kind::Stdout => take(&payload).map_err(CollectError::Unwanted)?,
            Kind::Stderr => {
                talk.extend_from_slice(&payload);
                let surplus = talk.len().saturating_sub(MOST_TALK);
                talk.drain(..surplus);
            }
            Kind::Exit => {
                let exit = serde_json::from_slice(&payload).map_err(|_| CollectError::Protocol)?;
                return Ok(Collected { exit, talk: last_line(&talk) });
            }
            Kind::Error => {
                let failure = serde_json::from_slice(&payload).map_err(|_| CollectError::Protocol)?;
                return Err(CollectError::Refused(failure));
            }
            _ => return Err(CollectError::Protocol),
        }
    }
}

/// The last thing a program says is most often why it ended.
fn last_line(talk: &[u8]) -> String {
    let text = String::from_utf8_lossy(talk);
    said(text.trim_end().lines().next_back().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn exec() -> Exec {
        Exec {
            argv: vec!["true".into()],
            env: std::collections::BTreeMap::new(),
            cwd: None,
            user: None,
            terminal: None,
            stdin: false,
        }
    }

    #[test]
    fn a_guest_that_says_nothing_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let collected = collect(&ours, &exec(), Duration::from_millis(20), |_| Ok::<_, Infallible>(()));
        assert!(matches!(collected, Err(CollectError::Lost(Some(_)))));
    }

    #[test]
    fn what_a_command_says_at_last_is_kept_and_the_flood_before_it_is_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let guest = std::thread::spawn(move || {
            frame::read(&mut theirs).unwrap();
            for _ in 0..4 {
                frame::write(&mut theirs, Kind::Stderr, &[b'x'; frame::MAX_PAYLOAD]).unwrap();
            }
            frame::write(&mut theirs, Kind::Stderr, b"\nfatal: \x1b[2Jno\n").unwrap();
            frame::write_json(&mut theirs, Kind::Exit, &Exit::Code(3)).unwrap();
        });
        let collected = collect(&ours, &exec(), Duration::from_secs(9), |_| Ok::<_, Infallible>(())).unwrap();
        assert_eq!((collected.exit, collected.talk.as_str()), (Exit::Code(3), "fatal: \u{fffd}[2Jno"));
        guest.join().unwrap();
    }
}
