//! Questions about the world, passed on to the host's own resolvers.
//!
//! A guest's packet goes no further than here: what is asked is written anew, with an id that nobody can guess, from a
//! port that only its answer can come to. What comes back is taken from nobody else, for no other question, and handed
//! on as it is. A guest that asks much has its share of questions under way and no more.

use super::answer::{MOST_OVER_UDP, Question, Transport};
use super::resolv_conf::resolvers;
use super::shares::Shares;
use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Questions under way at one time. Each holds a socket.
const MOST_OF_A_GUEST: usize = 32;
const MOST_OF_ALL: usize = 256;
/// How long a resolver may take. All of them together answer, or are given up, before the C library in the guest gives
/// up itself, which is after 5 s (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_millis(1500);
/// A resolver that is the only one is asked this often: packets get lost.
const LEAST_TRIES: usize = 2;

/// Who asks on behalf of guests.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// Where the resolvers are named. Read for every question: networks come and go.
    resolv_conf: PathBuf,
    shares: Shares,
}

/// What a packet from a resolver is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Answer,
    /// The resolver cannot tell; another may.
    Failure,
    /// An answer to something that was not asked.
    Foreign,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        Self { resolv_conf, shares: Shares::new(MOST_OF_A_GUEST, MOST_OF_ALL) }
    }

    /// The answer to a guest's question, or that there is none to be had; `None` when not even that can be said.
    pub(super) async fn ask(
        &self,
        guest: Ipv4Addr,
        question: &Question,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let Some(_share) = self.shares.take(guest) else { return question.failed() };
        let named = tokio::fs::read_to_string(&self.resolv_conf).await;
        let resolvers = resolvers(&named.unwrap_or_default());
        let tries = resolvers.len().max(LEAST_TRIES);
        for resolver in resolvers.into_iter().cycle().take(tries) {
            let asked = timeout(PATIENCE, ask_one(resolver, question, transport)).await;
            match asked {
                Ok(Ok(Some(mut answer))) => {
                    if answer.len() > question.limit(transport) {
                        return question.truncated();
                    }
                    answer[..2].copy_from_slice(&question.id.to_be_bytes());
                    return Some(answer);
                }
                Ok(Ok(None)) => tracing::debug!(%resolver, "the resolver failed"),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "the resolver could not be asked"),
                Err(_) => tracing::debug!(%resolver, "the resolver was silent"),
            }
        }
        question.failed()
    }
}

/// The packet with which a resolver answers; `None` if it answers that it cannot.
async fn ask_one(
    resolver: SocketAddr,
    question: &Question,
    transport: Transport,
) -> io::Result<Option<Vec<u8>>> {
    let id = random_id()?;
    let asked = encode(id, question, transport)?;
    match transport {
        Transport::Udp => {
            let any: IpAddr = match resolver {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            // From now on the kernel drops what comes from anybody else.
            socket.connect(resolver).await?;
            socket.send(&asked).await?;
            // What is longer than any guest takes over UDP is cut, and told as too long.
            let mut packet = [0; MOST_OVER_UDP as usize + 1];
            loop {
                let length = socket.recv(&mut packet).await?;
                match judge(&packet[..length], id, &question.query) {
                    Verdict::Answer => return Ok(Some(packet[..length].to_vec())),
                    Verdict::Failure => return Ok(None),
                    Verdict::Foreign => {}
                }
            }
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(resolver).await?;
            let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
            let mut packet = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut packet).await?;
            Ok((judge(&packet, id, &question.query) == Verdict::Answer).then_some(packet))
        }
    }
}

fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(id))
}

fn encode(id: u16, question: &Question, transport: Transport) -> io::Result<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = question.checking_disabled;
    message.add_query(question.query.clone());
    if let Some(asked) = question.edns {
        let payload = u16::try_from(question.limit(transport)).unwrap_or(MOST_OVER_UDP);
        let mut edns = Edns::new();
        edns.set_max_payload(payload.min(MOST_OVER_UDP)).set_dnssec_ok(asked.dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().map_err(io::Error::other)
}

/// What a packet from the resolver is. Its records are not looked at: they are for the guest.
fn judge(packet: &[u8], id: u16, asked: &Query) -> Verdict {
    let mut decoder = BinDecoder::new(packet);
    let header = match Header::read(&mut decoder) {
        Ok(header) if header.id == id && header.message_type == MessageType::Response => header,
        Ok(_) | Err(_) => return Verdict::Foreign,
    };
    // Who did not understand need not repeat what.
    let failed = !matches!(header.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    match header.counts.queries {
        0 if failed => Verdict::Failure,
        1 if Query::read(&mut decoder).is_ok_and(|query| query == *asked) => {
            if failed {
                Verdict::Failure
            } else {
                Verdict::Answer
            }
        }
        _ => Verdict::Foreign,
    }
}

#[cfg(test)]
mod tests;
