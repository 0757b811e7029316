use super::*;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::sync::Arc;
use tokio::net::TcpListener;

const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 3);
const FOUND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn question() -> Question {
    let query = Query::query(Name::from_ascii("Debian.org.").unwrap(), RecordType::A);
    Question { id: 4711, recursion_desired: true, checking_disabled: false, query, edns: None }
}

fn answer_to(asked: &[u8], records: u16) -> Message {
    let asked = Message::from_vec(asked).unwrap();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    let name = asked.queries[0].name.clone();
    answer.add_queries(asked.queries);
    answer.add_answers((0..records).map(|_| Record::from_rdata(name.clone(), 60, RData::A(A(FOUND)))));
    answer
}

/// A resolver that does to each packet what it is told, which may be nothing.
async fn resolver(say: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            for answer in say(&packet[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

async fn good() -> SocketAddr {
    resolver(|asked| vec![answer_to(asked, 1).to_vec().unwrap()]).await
}

async fn nobody() -> SocketAddr {
    // Bound, so that nobody else gets the port, and closed before it is asked.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.local_addr().unwrap()
}

struct Asking {
    forwarder: Arc<Forwarder>,
    _folder: tempfile::TempDir,
}

fn forwarder(resolvers: &[SocketAddr]) -> Asking {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let line = |address: &SocketAddr| format!("nameserver [{}]:{}\n", address.ip(), address.port());
    std::fs::write(&path, resolvers.iter().map(line).collect::<String>()).unwrap();
    Asking { forwarder: Arc::new(Forwarder::new(path)), _folder: folder }
}

impl std::ops::Deref for Asking {
    type Target = Arc<Forwarder>;

    fn deref(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }
}

async fn asked(resolvers: &[SocketAddr], question: &Question, transport: Transport) -> Message {
    let answer = forwarder(resolvers).ask(GUEST, question, transport).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, question.id);
    answer
}

fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn the_resolvers_answer_is_handed_on_under_the_guests_id() {
    let answer = asked(&[good().await], &question(), Transport::Udp).await;
    assert_eq!(addresses(&answer), [FOUND.to_string()]);
}

#[tokio::test]
async fn what_is_asked_is_written_anew_with_ids_that_differ() {
    let (ids, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let watching = resolver(move |asked| {
        let message = Message::from_vec(asked).unwrap();
        assert!(message.metadata.recursion_desired && message.edns.is_none());
        ids.send(message.metadata.id).unwrap();
        vec![answer_to(asked, 1).to_vec().unwrap()]
    })
    .await;
    let forwarder = forwarder(&[watching]);
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..32 {
        assert!(forwarder.ask(GUEST, &question(), Transport::Udp).await.is_some());
        all.insert(seen.recv().await.unwrap());
    }
    assert!(all.len() > 24, "ids that can be guessed: {all:?}");
}

#[tokio::test]
async fn an_answer_with_another_id_or_to_another_question_is_not_believed() {
    let lying = resolver(|asked| {
        let mut other_id = answer_to(asked, 3);
        other_id.metadata.id ^= 1;
        let mut other_name = answer_to(asked, 3);
        other_name.queries[0].name = Name::from_ascii("evil.org.").unwrap();
        let mut other_kind = answer_to(asked, 3);
        other_kind.queries[0].query_type = RecordType::AAAA;
        let mut no_answer = answer_to(asked, 3);
        no_answer.metadata.message_type = MessageType::Query;
        let lies = [other_id, other_name, other_kind, no_answer].map(|lie| lie.to_vec().unwrap());
        [&lies[..], &[vec![0; 3], Vec::new(), answer_to(asked, 1).to_vec().unwrap()]].concat()
    })
    .await;
    assert_eq!(addresses(&asked(&[lying], &question(), Transport::Udp).await).len(), 1);
}

#[tokio::test]
async fn an_answer_from_somebody_else_does_not_arrive() {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (ports, mut port) = tokio::sync::mpsc::unbounded_channel::<(Vec<u8>, SocketAddr)>();
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let resolver = socket.local_addr().unwrap();
    let receiving = socket.clone();
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        let (length, from) = receiving.recv_from(&mut packet).await.unwrap();
        ports.send((packet[..length].to_vec(), from)).unwrap();
    });
    let forwarder = forwarder(&[resolver]);
    let asking = tokio::spawn(async move { forwarder.ask(GUEST, &question(), Transport::Udp).await });
    let (packet, from) = port.recv().await.unwrap();
    stranger.send_to(&answer_to(&packet, 3).to_vec().unwrap(), from).await.unwrap();
    socket.send_to(&answer_to(&packet, 1).to_vec().unwrap(), from).await.unwrap();
    let answer = Message::from_vec(&asking.await.unwrap().unwrap()).unwrap();
    assert_eq!(answer.answers.len(), 1, "the stranger was believed");
}

#[tokio::test]
async fn a_resolver_that_fails_is_followed_by_the_next() {
    let failing = resolver(|asked| {
        let mut answer = answer_to(asked, 0);
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let puzzled = resolver(|asked| {
        let id = Message::from_vec(asked).unwrap().metadata.id;
        vec![Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().unwrap()]
    })
    .await;
    let answer = asked(&[failing, puzzled, good().await], &question(), Transport::Udp).await;
    assert_eq!(answer.answers.len(), 1);
}

#[tokio::test]
async fn with_nobody_to_ask_the_guest_is_told_so() {
    let answer = asked(&[nobody().await], &question(), Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let answer = asked(&[nobody().await], &question(), Transport::Tcp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_silent_resolver_is_asked_again_and_given_up_before_the_guest_gives_up() {
    let begun = std::time::Instant::now();
    let answer = asked(&[resolver(|_| Vec::new()).await], &question(), Transport::Udp).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(begun.elapsed() >= PATIENCE * 2 && begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_does_not_fit_is_said_to_be_too_long_and_comes_whole_over_tcp() {
    let large = resolver(|asked| vec![answer_to(asked, 60).to_vec().unwrap()]).await;
    let cut = asked(&[large], &question(), Transport::Udp).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.queries.len() == 1);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut packet = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut packet).await.unwrap();
        let answer = answer_to(&packet, 60).to_vec().unwrap();
        stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let whole = asked(&[address], &question(), Transport::Tcp).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 60));
}

#[tokio::test]
async fn a_guest_that_asks_without_end_leaves_room_for_the_others() {
    let forwarder = forwarder(&[resolver(|_| Vec::new()).await]);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..MOST_OF_A_GUEST {
        let forwarder = forwarder.clone();
        asking.spawn(async move { forwarder.ask(GUEST, &question(), Transport::Udp).await });
    }
    tokio::task::yield_now().await;
    let begun = std::time::Instant::now();
    let refused = forwarder.ask(GUEST, &question(), Transport::Udp).await.unwrap();
    assert_eq!(Message::from_vec(&refused).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert!(begun.elapsed() < PATIENCE, "it waited like the others");
    assert!(forwarder.shares.take(Ipv4Addr::new(172, 16, 0, 4)).is_some());
    asking.shutdown().await;
    assert!(forwarder.shares.take(GUEST).is_some(), "what was dropped still counts");
}

proptest::proptest! {
    #[test]
    fn no_packet_makes_the_judge_panic(packet: Vec<u8>, id: u16) {
        let _ = judge(&packet, id, &question().query);
    }
}
