//! Asks a DNS server one question and prints the answer on a line: its code, then what it says. Started in the network
//! namespace of the helper, where guests' questions are answered.
//!
//! `ask-dns udp|tcp SERVER:PORT NAME TYPE`

use anyhow::{Context as _, Result, bail};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::Name;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [transport, server, name, kind] = &words[..] else { bail!("ask-dns udp|tcp SERVER:PORT NAME TYPE") };
    let server: SocketAddr = server.parse().context("the server's address")?;
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, kind.parse()?));
    let asked = message.to_vec()?;
    let answer = match transport.as_str() {
        "udp" => over_udp(server, &asked)?,
        "tcp" => over_tcp(server, &asked)?,
        _ => bail!("there is udp and there is tcp"),
    };
    let answer = Message::from_vec(&answer).context("understanding the answer")?;
    if answer.metadata.id != 4711 {
        bail!("an answer to something else");
    }
    let records: String = answer.answers.iter().map(|record| format!(" {}", record.data)).collect();
    Ok(writeln!(std::io::stdout(), "{:?}{records}", answer.metadata.response_code)?)
}

fn over_udp(server: SocketAddr, asked: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(asked).context("asking")?;
    let mut packet = vec![0; 4096];
    let length = socket.recv(&mut packet).context("waiting for the answer")?;
    packet.truncate(length);
    Ok(packet)
}

fn over_tcp(server: SocketAddr, asked: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&u16::try_from(asked.len())?.to_be_bytes()[..], asked].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("waiting for the answer")?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet).context("reading the answer")?;
    Ok(packet)
}
