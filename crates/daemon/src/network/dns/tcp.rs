//! Questions that come over a connection, each behind its length (RFC 1035, 4.2.2).
//!
//! A guest has a few connections, and each of them only for as long as it asks: one that is idle, or slow to ask or to
//! take an answer, is closed.

use super::answer::{Reaction, Transport};
use super::shares::{Share, Shares};
use super::udp::LONGEST_QUESTION;
use super::{Names, ipv4};
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const MOST_OF_A_GUEST: usize = 8;
const MOST_OF_ALL: usize = 128;
/// How long the next whole question may take to come, and an answer to be taken (RFC 7766, 6.2.3).
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long no connection is accepted after one could not be.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Answers until dropped. Nobody is waited for longer than for `patience`, which is [`PATIENCE`] but in tests.
pub(super) async fn serve(listener: TcpListener, names: Names, patience: Duration) -> Infallible {
    let shares = Shares::new(MOST_OF_A_GUEST, MOST_OF_ALL);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let share = ipv4(from).and_then(|guest| Some((guest, shares.take(guest)?)));
                // Without a share it is closed at once.
                if let Some((guest, share)) = share {
                    tokio::spawn(converse(stream, guest, names.clone(), patience, share));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a guest's connection for DNS could not be accepted");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}

/// Ends with the connection. A guest that breaks it off, or is broken off, needs no further word.
async fn converse(mut stream: TcpStream, guest: Ipv4Addr, names: Names, patience: Duration, _share: Share) {
    while let Ok(Ok(Some(question))) = timeout(patience, read(&mut stream)).await {
        let answer = match names.react(&question, guest) {
            Reaction::Answer(answer) => Some(answer),
            Reaction::Forward(question) => names.forwarder.ask(guest, &question, Transport::Tcp).await,
            Reaction::Silence => None,
        };
        let Some(answer) = answer else { return };
        if !matches!(timeout(patience, write(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next question; `None` for one that is longer than any.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_QUESTION {
        return Ok(None);
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(Some(question))
}

async fn write(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    // In one piece: some clients take what comes first for the whole (RFC 7766, 8).
    stream.write_all(&[&length.to_be_bytes()[..], answer].concat()).await
}
