//! Any bytes as what another process says.

use crate::guest_api::frame;
use crate::wire::{parse_incoming, parse_request};

#[test]
fn any_line_is_a_request_or_an_error() {
    let examples: [&[u8]; 3] = [
        br#"{"jsonrpc":"2.0","id":1,"method":"vm.create","params":{"name":"dev","spec":{"vcpu":2}}}"#,
        br#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"version","params":{"protocol":1}}"#,
        br#"{"jsonrpc":"2.0","id":7,"method":"\u0076m.list","params":[]}"#,
    ];
    banger_fuzz::feed(&examples, |line| {
        if let Ok(request) = parse_request(line) {
            assert!(line.len() >= request.method.len() + request.params.get().len());
        }
    });
}

#[test]
fn any_line_is_an_answer_or_an_event_or_an_error() {
    let examples: [&[u8]; 3] = [
        br#"{"jsonrpc":"2.0","id":1,"result":{"name":"dev"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"m","data":{"kind":"not_found","message":"m"}}}"#,
        br#"{"jsonrpc":"2.0","method":"event","params":{"stage":"boot"}}"#,
    ];
    banger_fuzz::feed(&examples, |line| drop(parse_incoming(line)));
}

#[test]
fn any_bytes_are_frames_until_an_error_or_the_end() {
    let mut three = Vec::new();
    for (kind, payload) in [(1_u8, &b"{\"argv\":[\"id\"]}"[..]), (2, b"input"), (3, b"")] {
        three.push(kind);
        three.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        three.extend(payload);
    }
    banger_fuzz::feed(&[&three, b""], |mut bytes| {
        while let Ok(Some(frame)) = frame::read(&mut bytes) {
            assert!(frame.payload.len() <= frame::MAX_PAYLOAD);
        }
    });
}
