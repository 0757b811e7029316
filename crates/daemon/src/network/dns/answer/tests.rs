use super::*;
use crate::network::Range;
use crate::network::dns::zone::tests::guest;
use hickory_proto::rr::rdata::opt::EdnsCode;

/// A guest without NAT, which is `dev`, and one with it, which is `out`.
const DEV: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const OUT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 3);

fn zone() -> Zone {
    let mut zone = Zone::new(Range::LOCAL);
    zone.insert(guest("dev", 2, false));
    zone.insert(guest("out", 3, true));
    zone
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answered(reaction: Reaction) -> Message {
    match reaction {
        Reaction::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn ask(message: &Message, from: Ipv4Addr) -> Message {
    answered(react(&message.to_vec().unwrap(), from, &zone()))
}

/// The code, then each record, the authority's behind a semicolon.
fn summary(name: &str, kind: RecordType) -> String {
    let answer = ask(&query(name, kind), DEV);
    let records = |records: &[Record]| {
        records.iter().map(|r| format!(" {} {} {}", r.name, r.record_type(), r.data)).collect::<String>()
    };
    let code = answer.metadata.response_code.low();
    let flags = if answer.metadata.authoritative { "aa" } else { "" };
    format!("{code}{flags}{};{}", records(&answer.answers), records(&answer.authorities))
}

#[test]
fn every_question_has_its_answer() {
    let soa = "SOA vm. hostmaster.vm. 1 3600 3600 3600 1";
    let table = [
        ("dev.vm.", RecordType::A, "0aa dev.vm. A 172.16.0.2;".to_owned()),
        ("dev.vm.", RecordType::ANY, "0aa dev.vm. A 172.16.0.2;".to_owned()),
        ("dEv.vM.", RecordType::A, "0aa dEv.vM. A 172.16.0.2;".to_owned()),
        ("dev.vm.", RecordType::AAAA, format!("0aa; vm. {soa}")),
        ("dev.vm.", RecordType::HTTPS, format!("0aa; vm. {soa}")),
        ("gone.vm.", RecordType::A, format!("3aa; vm. {soa}")),
        ("a.dev.vm.", RecordType::A, format!("3aa; vm. {soa}")),
        ("vm.", RecordType::A, format!("0aa; vm. {soa}")),
        ("vm.", RecordType::SOA, format!("0aa vm. {soa};")),
        ("2.0.16.172.in-addr.arpa.", RecordType::PTR, "0aa 2.0.16.172.in-addr.arpa. PTR dev.vm.;".to_owned()),
        ("2.0.16.172.in-addr.arpa.", RecordType::A, format!("0aa; 0.16.172.in-addr.arpa. {soa}")),
        ("9.0.16.172.in-addr.arpa.", RecordType::PTR, format!("3aa; 0.16.172.in-addr.arpa. {soa}")),
        ("1.0.0.10.in-addr.arpa.", RecordType::PTR, format!("3aa; 10.in-addr.arpa. {soa}")),
        ("debian.org.", RecordType::A, "5;".to_owned()),
        ("8.8.8.8.in-addr.arpa.", RecordType::PTR, "5;".to_owned()),
        ("vm.", RecordType::AXFR, "5;".to_owned()),
    ];
    for (name, kind, expected) in table {
        assert_eq!(summary(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn an_answer_repeats_what_was_asked_and_promises_only_what_the_guest_has() {
    for (from, may) in [(DEV, false), (OUT, true)] {
        let mut question = query("DEV.vm.", RecordType::A);
        question.metadata.checking_disabled = true;
        let answer = ask(&question, from);
        assert_eq!((answer.metadata.id, answer.metadata.message_type), (7, MessageType::Response));
        assert!(answer.metadata.recursion_desired && answer.metadata.checking_disabled);
        assert_eq!(answer.metadata.recursion_available, may);
        assert!(answer.queries[0].name.eq_case(&question.queries[0].name));
    }
}

#[test]
fn only_who_reaches_out_has_questions_about_the_world_passed_on_and_never_about_what_is_private() {
    let forwards = |name: &str, kind, from, desired| {
        let mut question = query(name, kind);
        question.metadata.recursion_desired = desired;
        matches!(react(&question.to_vec().unwrap(), from, &zone()), Reaction::Forward(_))
    };
    assert!(forwards("debian.org.", RecordType::A, OUT, true));
    assert!(forwards("8.8.8.8.in-addr.arpa.", RecordType::PTR, OUT, true));
    assert!(!forwards("debian.org.", RecordType::A, OUT, false));
    for stranger in [DEV, Ipv4Addr::new(172, 16, 0, 9), Ipv4Addr::LOCALHOST] {
        assert!(!forwards("debian.org.", RecordType::A, stranger, true), "{stranger}");
    }
    for name in [
        "dev.vm.",
        "gone.vm.",
        "vm.",
        "9.0.16.172.in-addr.arpa.",
        "1.1.168.192.in-addr.arpa.",
        "1.d.f.ip6.arpa.",
    ] {
        assert!(!forwards(name, RecordType::PTR, OUT, true), "{name}");
        assert!(!forwards(name, RecordType::A, OUT, true), "{name}");
    }
    assert!(!forwards("debian.org.", RecordType::AXFR, OUT, true));
}

#[test]
fn another_class_is_refused_and_another_operation_not_known() {
    let mut version = query("version.bind.", RecordType::TXT);
    version.queries[0].query_class = DNSClass::CH;
    assert_eq!(ask(&version, OUT).metadata.response_code, ResponseCode::Refused);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut other = query("dev.vm.", RecordType::A);
        other.metadata.op_code = op_code;
        let answer = ask(&other, OUT);
        assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
        assert_eq!(answer.metadata.id, 7);
    }
}

#[test]
fn a_size_that_is_asked_for_is_kept_within_what_passes_every_link() {
    let limit = |payload: Option<u16>, transport| {
        let mut message = query("debian.org.", RecordType::A);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        match react(&message.to_vec().unwrap(), OUT, &zone()) {
            Reaction::Forward(question) => question.limit(transport),
            other => panic!("{other:?}"),
        }
    };
    for (payload, expected) in [(None, 512), (Some(0), 512), (Some(600), 600), (Some(4096), 1232)] {
        assert_eq!(limit(payload, Transport::Udp), expected, "{payload:?}");
        assert_eq!(limit(payload, Transport::Tcp), 65535);
    }
}

#[test]
fn who_speaks_edns_is_answered_in_it_and_a_later_version_is_told_ours() {
    let with = |version| {
        let mut message = query("dev.vm.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_version(version).set_dnssec_ok(true).set_max_payload(1400);
        message.set_edns(edns);
        ask(&message, DEV)
    };
    let answer = with(0);
    let edns = answer.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1232, true));
    assert!(edns.option(EdnsCode::Cookie).is_none());
    assert_eq!(answer.answers.len(), 1);
    let answer = with(1);
    // 16 is BADVERS and BADSIG alike.
    assert_eq!((u16::from(answer.metadata.response_code), answer.answers.len()), (16, 0));
    assert!(ask(&query("dev.vm.", RecordType::A), DEV).edns.is_none());
}

#[test]
fn what_is_no_question_is_a_format_error_or_not_answered_at_all() {
    let good = query("dev.vm.", RecordType::A).to_vec().unwrap();
    let changed = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let long_pointer = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    for (why, packet) in [
        ("no question", changed(5, 0)),
        ("two questions", changed(5, 2)),
        ("65281 questions", changed(4, 255)),
        ("an answer", changed(7, 1)),
        ("an authority", changed(9, 1)),
        ("an additional record that is not there", changed(11, 1)),
        ("65280 additional records", changed(10, 255)),
        ("a name that is longer than the packet", changed(12, 63)),
        ("a name that refers to itself", long_pointer),
        ("half a question", good[..good.len() - 3].to_vec()),
        ("a header alone", good[..12].to_vec()),
    ] {
        let answer = answered(react(&packet, OUT, &zone()));
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr, "{why}");
        assert_eq!((answer.metadata.id, answer.queries.len()), (7, 0), "{why}");
    }
    for (why, packet) in
        [("an answer", changed(2, 0x80)), ("half a header", good[..11].to_vec()), ("nothing", Vec::new())]
    {
        assert!(matches!(react(&packet, OUT, &zone()), Reaction::Silence), "{why}");
    }
}

#[test]
fn the_longest_names_are_answered() {
    let longest = format!("{}.{}.{}.{}.vm.", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(57));
    for name in [longest.as_str(), &format!("{}vm.", "x.".repeat(125))] {
        let Reaction::Answer(bytes) = react(&query(name, RecordType::A).to_vec().unwrap(), DEV, &zone())
        else {
            panic!("{name}")
        };
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(bytes.len() <= usize::from(USUAL_OVER_UDP), "{}", bytes.len());
    }
}

/// Random numbers from a seed (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % most
    }

    fn byte(&mut self) -> u8 {
        // The bytes that mean something to the format, more often than the others.
        let odd = [0, 1, 2, 12, 41, 63, 64, 0x80, 0xc0, 0xff];
        if self.below(2) == 0 { odd[self.below(odd.len())] } else { self.below(256).to_le_bytes()[0] }
    }

    fn mutate(&mut self, packet: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(packet.len().max(1));
            match self.below(4) {
                0 => packet.insert(at, self.byte()),
                1 if !packet.is_empty() => drop(packet.remove(at)),
                2 => packet.truncate(at),
                _ if at < packet.len() => packet[at] = self.byte(),
                _ => {}
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        ["dev.vm.", "debian.org.", "2.0.16.172.in-addr.arpa.", "a.b.c.d.e.f.vm.", "."]
            .into_iter()
            .map(|name| query(name, RecordType::ANY).to_vec().unwrap())
            .collect();
    let mut with_edns = query("out.vm.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    with_edns.set_edns(edns);
    seeds.push(with_edns.to_vec().unwrap());
    let compressed = [&seeds[0][..20], &[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1]].concat();
    seeds.extend([compressed, vec![0; 12], Vec::new()]);
    seeds
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(120_000))]

    #[test]
    fn no_packet_makes_us_panic_or_say_much(seed: u64) {
        thread_local! {
            static PLACE: (Zone, Vec<Vec<u8>>) = (zone(), seeds());
        }
        PLACE.with(|(zone, seeds)| {
            let mut random = Random(seed | 1);
            let mut packet = seeds[random.below(seeds.len())].clone();
            if random.below(8) == 0 {
                packet = (0..random.below(600)).map(|_| random.byte()).collect();
            }
            random.mutate(&mut packet);
            let from = if random.below(2) == 0 { DEV } else { OUT };
            match react(&packet, from, zone) {
                Reaction::Answer(bytes) => {
                    assert!(bytes.len() <= usize::from(USUAL_OVER_UDP), "{} bytes", bytes.len());
                    assert_eq!(bytes[..2], packet[..2], "another question's answer");
                    assert!(bytes[2] & 0x80 != 0, "an answer that looks like a question");
                }
                Reaction::Forward(question) => {
                    assert_eq!(from, OUT);
                    assert!(question.failed().unwrap().len() <= usize::from(USUAL_OVER_UDP));
                    assert!(question.truncated().unwrap().len() <= usize::from(USUAL_OVER_UDP));
                }
                Reaction::Silence => {}
            }
        });
    }
}

mod fuzz {
    use super::*;

    #[test]
    fn any_packet_is_answered_with_a_message_that_fits_or_not_at_all() {
        let asked = ["dev.vm.", "2.0.16.172.in-addr.arpa.", "example.org."].map(|name| {
            let mut message = query(name, RecordType::A);
            message.set_edns(Edns::new());
            message.to_vec().unwrap()
        });
        let examples: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        let zone = zone();
        banger_fuzz::feed(&examples, |packet| {
            for from in [DEV, OUT] {
                match react(packet, from, &zone) {
                    Reaction::Answer(bytes) => {
                        assert!(bytes.len() <= usize::from(USUAL_OVER_UDP), "{} bytes", bytes.len());
                        assert_eq!(bytes[..2], packet[..2], "another question's answer");
                        let _ = Message::from_vec(&bytes).unwrap();
                    }
                    Reaction::Forward(question) => {
                        assert!(from == OUT, "forwarded for who may not reach out");
                        assert!(question.failed().is_some() && question.truncated().is_some());
                    }
                    Reaction::Silence => {}
                }
            }
        });
    }
}
