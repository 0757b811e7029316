//! The whole of it over loopback, where every address of 127/8 can be a guest's.

use super::answer::Transport;
use super::*;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const DEV: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OUT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

struct Place {
    dns: Dns,
    _tasks: JoinSet<()>,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

fn guest(name: &str, address: Ipv4Addr, nat: bool) -> Guest {
    let vm = format!("{:012x}", address.to_bits()).parse().unwrap();
    Guest { vm, name: name.parse().unwrap(), address, nat }
}

async fn place() -> Place {
    patient(tcp::PATIENCE).await
}

async fn patient(patience: Duration) -> Place {
    let upstream = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let resolver = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = upstream.recv_from(&mut packet).await {
            let asked = Message::from_vec(&packet[..length]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_queries(asked.queries);
            let _ = upstream.send_to(&answer.to_vec().unwrap(), from).await;
        }
    });
    let range = Range { bridge: Ipv4Addr::LOCALHOST, prefix: 24 };
    let folder = tempfile::tempdir().unwrap();
    let resolv_conf = folder.path().join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver [127.0.0.1]:{}", resolver.port())).unwrap();
    let dns = Dns::asking(range, resolv_conf);
    dns.publish(guest("dev", DEV, false));
    dns.publish(guest("out", OUT, true));
    // The port of the one is free for the other, or we try again.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let tasks = answer_on(udp, tcp, &dns.names, patience).unwrap();
    Place { dns, _tasks: tasks, address, _folder: folder }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

impl Place {
    async fn connect(&self, from: Ipv4Addr) -> tokio::net::TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn ask(&self, from: Ipv4Addr, name: &str, transport: Transport) -> ResponseCode {
        let answer = match transport {
            Transport::Udp => {
                let socket = tokio::net::UdpSocket::bind((from, 0)).await.unwrap();
                socket.send_to(&question(name), self.address).await.unwrap();
                let mut packet = vec![0; 2048];
                let length = socket.recv(&mut packet).await.unwrap();
                packet.truncate(length);
                packet
            }
            Transport::Tcp => over_tcp(&mut self.connect(from).await, &question(name)).await.unwrap(),
        };
        Message::from_vec(&answer).unwrap().metadata.response_code
    }
}

async fn over_tcp(stream: &mut tokio::net::TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&[&u16::try_from(question.len()).unwrap().to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_name_is_known_from_its_publication_until_it_is_withdrawn() {
    let place = place().await;
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(place.ask(DEV, "out.vm.", transport).await, ResponseCode::NoError);
        assert_eq!(place.ask(DEV, "new.vm.", transport).await, ResponseCode::NXDomain);
        let new = guest("new", Ipv4Addr::new(127, 0, 0, 9), false);
        place.dns.publish(new.clone());
        assert_eq!(place.ask(DEV, "new.vm.", transport).await, ResponseCode::NoError);
        place.dns.withdraw(&new.vm);
        assert_eq!(place.ask(DEV, "new.vm.", transport).await, ResponseCode::NXDomain);
    }
}

#[tokio::test]
async fn the_world_is_asked_for_those_who_reach_out_alone() {
    let place = place().await;
    // The resolver says that there is no such name, and it is not asked about the others.
    for (from, name, expected) in [
        (OUT, "debian.org.", ResponseCode::NXDomain),
        (DEV, "debian.org.", ResponseCode::Refused),
        (Ipv4Addr::new(127, 0, 0, 77), "debian.org.", ResponseCode::Refused),
        (OUT, "dev.vm.", ResponseCode::NoError),
    ] {
        assert_eq!(place.ask(from, name, Transport::Udp).await, expected, "{from} {name}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_question_after_another_and_many_at_once() {
    let place = place().await;
    let mut stream = place.connect(DEV).await;
    for _ in 0..3 {
        assert!(over_tcp(&mut stream, &question("dev.vm.")).await.is_ok());
    }
    let one = question("dev.vm.");
    let framed = [&u16::try_from(one.len()).unwrap().to_be_bytes()[..], &one].concat();
    stream.write_all(&framed.repeat(10)).await.unwrap();
    for _ in 0..10 {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_question_that_is_too_long_or_none_ends_the_connection() {
    let (place, begun) = (place().await, Instant::now());
    for frame in [&[0xff, 0xff, 0][..], &[0, 3, 1, 2, 3], &[0, 0]] {
        let mut stream = place.connect(DEV).await;
        stream.write_all(frame).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "{frame:?}");
    }
    assert!(begun.elapsed() < tcp::PATIENCE, "it was waited for");
}

#[tokio::test]
async fn a_guest_that_holds_connections_keeps_none_from_the_others() {
    let place = place().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(place.connect(DEV).await);
    }
    let mut served = 0;
    for stream in &mut held {
        served += u32::from(over_tcp(stream, &question("dev.vm.")).await.is_ok());
    }
    assert_eq!(served, 8);
    assert_eq!(place.ask(OUT, "dev.vm.", Transport::Tcp).await, ResponseCode::NoError);
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while over_tcp(&mut place.connect(DEV).await, &question("dev.vm.")).await.is_err() {
        assert!(Instant::now() < deadline, "its share did not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_on_which_no_whole_question_comes_is_closed() {
    let place = patient(Duration::from_millis(200)).await;
    let mut stream = place.connect(DEV).await;
    stream.write_all(&[0, 20, 1]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
