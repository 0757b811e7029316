//! What is answered to a packet. Pure.
//!
//! The packet is a guest's, so no more of it is looked at than makes a question: its header, the one question, and the
//! OPT record that says how large an answer may be. Counts in the header are never believed.

use super::zone::{Authority, Guest, Meaning, Zone};
use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};
use std::net::Ipv4Addr;
use std::sync::LazyLock;

/// Longest answer over UDP: what passes every link in one piece (DNS flag day 2020).
pub(super) const MOST_OVER_UDP: u16 = 1232;
/// Longest answer over UDP to who says nothing about it (RFC 1035, 4.2.1).
const USUAL_OVER_UDP: u16 = 512;
/// Seconds that an answer may be kept, a negative one too: names change hands, and asking again costs nothing.
const TTL: u32 = 1;
/// No secondary server copies the zone, so it has no history.
const SERIAL: u32 = 1;
const REFRESH: i32 = 3600;
const DOMAIN: &str = "vm.";
const HOSTMASTER: &str = "hostmaster.vm.";

static SOA_OF_ALL: LazyLock<SOA> = LazyLock::new(|| {
    let name = |text| Name::from_ascii(text).expect("a name of ours is one");
    SOA::new(name(DOMAIN), name(HOSTMASTER), SERIAL, REFRESH, REFRESH, REFRESH, TTL)
});

/// How a question came, which decides how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What to do about a packet.
#[derive(Debug)]
pub(super) enum Reaction {
    Answer(Vec<u8>),
    /// Somebody else knows the answer, and this guest may ask them.
    Forward(Question),
    /// It was no question: whoever sent it is told nothing.
    Silence,
}

/// A question that was understood.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub id: u16,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    pub query: Query,
    pub edns: Option<Extension>,
}

/// What a question's OPT record says (RFC 6891, 6.1.2 and 6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    pub payload: u16,
    pub version: u8,
    pub dnssec_ok: bool,
}

impl Question {
    /// Longest answer that who asked can take.
    pub(super) fn limit(&self, transport: Transport) -> usize {
        let limit = match (transport, self.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(USUAL_OVER_UDP, MOST_OVER_UDP),
            (Transport::Udp, None) => USUAL_OVER_UDP,
        };
        usize::from(limit)
    }

    /// An answer without records.
    pub(super) fn empty(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        if let Some(asked) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MOST_OVER_UDP).set_version(0).set_dnssec_ok(asked.dnssec_ok);
            message.set_edns(edns);
        }
        message
    }

    /// The answer that nobody could be asked.
    pub(super) fn failed(&self) -> Option<Vec<u8>> {
        let mut message = self.empty(ResponseCode::ServFail);
        message.metadata.recursion_available = true;
        message.to_vec().ok()
    }

    /// The answer that the answer is too long, and to be asked for over TCP.
    pub(super) fn truncated(&self) -> Option<Vec<u8>> {
        let mut message = self.empty(ResponseCode::NoError);
        message.metadata.recursion_available = true;
        message.metadata.truncation = true;
        message.to_vec().ok()
    }
}

/// What to do about a packet of the guest with address `from`. Our own answers fit every transport: they are a question,
/// of at most 259 bytes, and one short record that refers to it.
pub(super) fn react(packet: &[u8], from: Ipv4Addr, zone: &Zone) -> Reaction {
    let mut decoder = BinDecoder::new(packet);
    let header = match Header::read(&mut decoder) {
        Ok(header) if header.message_type == MessageType::Query => header,
        // An answer to an answer could go on for ever.
        Ok(_) | Err(_) => return Reaction::Silence,
    };
    let message = match question(&header, &mut decoder) {
        Err(code) => Message::error_msg(header.id, header.op_code, code),
        Ok(question) => match judge(&question, from, zone) {
            Some(message) => message,
            None => return Reaction::Forward(question),
        },
    };
    message.to_vec().map_or(Reaction::Silence, Reaction::Answer)
}

fn question(header: &Header, decoder: &mut BinDecoder<'_>) -> Result<Question, ResponseCode> {
    if header.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let counts = header.counts;
    if counts.queries != 1 || counts.answers != 0 || counts.authorities != 0 {
        return Err(ResponseCode::FormErr);
    }
    let read = |decoder: &mut BinDecoder<'_>| {
        let query = Query::read(decoder)?;
        let edns = if counts.additionals == 0 { None } else { Some(extension(decoder)?) };
        Ok::<_, DecodeError>((query, edns))
    };
    let (query, edns) = read(decoder).map_err(|_| ResponseCode::FormErr)?;
    Ok(Question {
        id: header.id,
        recursion_desired: header.recursion_desired,
        checking_disabled: header.checking_disabled,
        query,
        edns,
    })
}

/// The record behind the question, which is an OPT with nothing but numbers that matter; its options do not.
fn extension(decoder: &mut BinDecoder<'_>) -> Result<Extension, DecodeError> {
    const DNSSEC_OK: u32 = 1 << 15;
    let root = decoder.read_u8()?.unverified() == 0;
    let kind = RecordType::from(decoder.read_u16()?.unverified());
    if !root || kind != RecordType::OPT {
        return Err(DecodeError::InvalidEmptyRecord);
    }
    let payload = decoder.read_u16()?.unverified();
    let flags = decoder.read_u32()?.unverified();
    let length = decoder.read_u16()?.unverified();
    decoder.read_slice(usize::from(length))?;
    let [_, version, ..] = flags.to_be_bytes();
    Ok(Extension { payload, version, dnssec_ok: flags & DNSSEC_OK != 0 })
}

/// The answer, unless it is to be looked for in the world.
fn judge(question: &Question, from: Ipv4Addr, zone: &Zone) -> Option<Message> {
    let Query { name, query_type, query_class, .. } = &question.query;
    let reaches_out = zone.reaches_out(from);
    let mut message = question.empty(ResponseCode::NoError);
    message.metadata.recursion_available = reaches_out;
    if question.edns.is_some_and(|edns| edns.version != 0) {
        message.metadata.response_code = ResponseCode::BADVERS;
        return Some(message);
    }
    if *query_class != DNSClass::IN || matches!(query_type, RecordType::AXFR | RecordType::IXFR) {
        message.metadata.response_code = ResponseCode::Refused;
        return Some(message);
    }
    let any = *query_type == RecordType::ANY;
    let authority = match zone.meaning(name) {
        Meaning::Guest(guest) if any || *query_type == RecordType::A => {
            message.add_answer(record(name, RData::A(A(guest.address))));
            None
        }
        Meaning::Guest(_) => Some(Authority { labels: 1 }),
        Meaning::Reverse(guest) if any || *query_type == RecordType::PTR => {
            message.add_answer(record(name, RData::PTR(PTR(name_of(guest)?))));
            None
        }
        Meaning::Reverse(_) => Some(zone.reverse_authority()),
        Meaning::Inner(authority) => {
            if *query_type == RecordType::SOA && usize::from(name.num_labels()) == authority.labels {
                message.add_answer(record(name, RData::SOA(SOA_OF_ALL.clone())));
                None
            } else {
                Some(authority)
            }
        }
        Meaning::Nothing(authority) => {
            message.metadata.response_code = ResponseCode::NXDomain;
            Some(authority)
        }
        Meaning::Elsewhere if reaches_out && question.recursion_desired => return None,
        Meaning::Elsewhere => {
            message.metadata.response_code = ResponseCode::Refused;
            return Some(message);
        }
    };
    message.metadata.authoritative = true;
    if let Some(Authority { labels }) = authority {
        // What lets a resolver remember that there is nothing (RFC 2308).
        message.add_authority(record(&name.trim_to(labels), RData::SOA(SOA_OF_ALL.clone())));
    }
    Some(message)
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn name_of(guest: &Guest) -> Option<Name> {
    Name::from_ascii(format!("{}.{DOMAIN}", guest.name)).ok()
}

#[cfg(test)]
mod tests;
