//! Connections: who may speak, in what order, and how many at once.
//!
//! Who connects is known from the kernel before a byte is read, and whether they may speak is said by
//! [`Station::admit`](crate::station::Station::admit).

use crate::Helper;
use crate::route::{route, vm_of};
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::root_api::RootCall;
use banger_protocol::wire::{
    Connection, ConnectionError, ErrorKind, Line, RpcError, encode_response, parse_request, send,
};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::exit;
use std::sync::Arc;

/// Connections at one time. The daemon needs a handful.
const MOST_CONNECTIONS: usize = 32;
/// Answers to lines whose own id is not known.
const NO_ID: u64 = 0;

/// Answers until somebody asks for the end.
pub(crate) fn serve(listener: &UnixListener, helper: Helper) -> ! {
    let helper = Arc::new(helper);
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was lost before it was accepted");
                continue;
            }
        };
        // Each connection holds one, and the listener.
        if Arc::strong_count(&helper) > MOST_CONNECTIONS {
            let message = format!("{MOST_CONNECTIONS} connections are open already");
            refuse(&stream, NO_ID, &RpcError::new(ErrorKind::Unavailable, message));
            continue;
        }
        let helper = Arc::clone(&helper);
        let thread = std::thread::Builder::new();
        if let Err(error) = thread.spawn(move || converse(stream, &helper)) {
            tracing::warn!(%error, "a connection was dropped: no thread was made for it");
        }
    }
}

fn converse(stream: UnixStream, helper: &Helper) {
    if let Err(reason) = helper.station.admit(&stream) {
        tracing::warn!(reason, "a stranger was refused");
        return refuse(&stream, NO_ID, &RpcError::new(ErrorKind::Unauthorized, reason));
    }
    let mut connection = Connection::new(stream);
    let mut greeted = false;
    let mut operation = None;
    loop {
        let line = match connection.read_line() {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(error @ ConnectionError::TooLong(_)) => {
                let answer = RpcError::from_error(ErrorKind::BadRequest, &error);
                return refuse(connection.stream(), NO_ID, &answer);
            }
            Err(error) => return tracing::debug!(%error, "a connection was lost"),
        };
        let (id, call) = match parse(&line, greeted) {
            Ok(parsed) => parsed,
            Err((id, error)) => {
                refuse(connection.stream(), id, &error);
                // Who does not greet, or does not speak the protocol, is not listened to any longer.
                if greeted && id != NO_ID { continue } else { return }
            }
        };
        if let RootCall::Version(version) = &call {
            greeted |= version.protocol == PROTOCOL_VERSION;
            operation = version.operation.as_ref().map(ToString::to_string);
        }
        let _span =
            tracing::info_span!("request", method = call.method(), vm = vm_of(&call), operation).entered();
        // One with descriptors is refused.
        let ends = matches!(call, RootCall::Shutdown(_)) && line.descriptors.is_empty();
        let mut carried = Vec::new();
        let answer = route(helper, id, call, line.descriptors, &mut carried);
        let carried: Vec<_> = carried.iter().map(AsFd::as_fd).collect();
        let sent = send(connection.stream(), &answer, &carried);
        if ends && helper.station.ends_when_told() {
            tracing::info!("ending, VMs stay");
            exit(0);
        }
        if let Err(error) = sent {
            return tracing::debug!(%error, "an answer was not taken");
        }
    }
}

type Refusal = (u64, RpcError);

fn parse(line: &Line, greeted: bool) -> Result<(u64, RootCall), Refusal> {
    let request = parse_request(&line.bytes).map_err(|error| (NO_ID, error.to_rpc_error()))?;
    if !greeted && request.method != "version" {
        let message = format!("the first request is `version`, not `{}`", request.method.escape_default());
        return Err((request.id, RpcError::new(ErrorKind::BadVersion, message)));
    }
    let call = RootCall::parse(&request.method, request.params.get()).map_err(|error| (request.id, error))?;
    Ok((request.id, call))
}

fn refuse(stream: &UnixStream, id: u64, error: &RpcError) {
    // Who does not listen to the refusal has it all the same.
    let _ = send(stream, &encode_response::<()>(id, &Err(error.clone())), &[]);
}

#[cfg(test)]
mod fuzz {
    use super::*;

    #[test]
    fn any_line_is_a_call_or_a_refusal() {
        let examples: [&[u8]; 5] = [
            br#"{"jsonrpc":"2.0","id":1,"method":"version","params":{"protocol":1}}"#,
            br#"{"jsonrpc":"2.0","id":2,"method":"tap.create","params":{"vm":"0123456789ab","address":"172.16.0.2","nat":false}}"#,
            br#"{"jsonrpc":"2.0","id":3,"method":"tap.release","params":{"vm":"0123456789ab"}}"#,
            br#"{"jsonrpc":"2.0","id":4,"method":"process.start","params":{"vm":"0123456789ab","role":"vmm","arguments":["-x"]}}"#,
            br#"{"jsonrpc":"2.0","id":5,"method":"inventory","params":{}}"#,
        ];
        banger_fuzz::feed(&examples, |bytes| {
            let line = Line { bytes: bytes.to_vec(), descriptors: Vec::new() };
            for greeted in [false, true] {
                if let Err((_, error)) = parse(&line, greeted) {
                    assert!(!error.message.is_empty());
                }
            }
        });
    }
}
