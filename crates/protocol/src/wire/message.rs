//! Lines to messages and back; pure.

use super::{ErrorKind, RpcError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Ties a method's parameters to its name and to what it answers.
pub trait Method: Serialize + DeserializeOwned {
    const NAME: &'static str;
    type Reply: Serialize + DeserializeOwned;
}

/// A line that is not a message of this protocol.
#[derive(Debug, thiserror::Error)]
#[error("the line is not a JSON-RPC 2.0 message")]
pub struct MalformedLine(#[source] serde_json::Error);

/// A request as it arrived, its parameters not looked at yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine<'a> {
    pub jsonrpc: JsonRpc,
    pub id: u64,
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    #[serde(borrow)]
    pub params: &'a RawValue,
}

/// The protocol's own version, `"2.0"`, the only one there is.
#[derive(Debug, Deserialize)]
pub enum JsonRpc {
    #[serde(rename = "2.0")]
    V2,
}

/// What a caller reads back.
#[derive(Debug)]
pub enum Incoming {
    /// Something that happened while the request runs.
    Event(Box<RawValue>),
    /// The request's answer; nothing follows it.
    Response { id: u64, outcome: Result<Box<RawValue>, RpcError> },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseLine {
    jsonrpc: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

/// JSON-RPC's error object: our error is its `data`, the code only says "server error" to generic clients.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorObject {
    code: i32,
    message: String,
    data: RpcError,
}

/// JSON-RPC 2.0 §5.1: −32000 to −32099 are the server's own.
const SERVER_ERROR: i32 = -32000;

/// One request line, newline included.
///
/// # Panics
/// Never for the types of this crate: they all serialise.
#[must_use]
pub fn encode_request<M: Method>(id: u64, params: &M) -> Vec<u8> {
    #[derive(Serialize)]
    struct Request<'a, P> {
        jsonrpc: &'static str,
        id: u64,
        method: &'static str,
        params: &'a P,
    }
    to_line(&Request { jsonrpc: "2.0", id, method: M::NAME, params })
}

/// The last line of a request: its result or its error.
///
/// # Panics
/// Never for the types of this crate: they all serialise.
#[must_use]
pub fn encode_response<R: Serialize>(id: u64, outcome: &Result<R, RpcError>) -> Vec<u8> {
    let (result, error) = match outcome {
        Ok(result) => (Some(serde_json::value::to_raw_value(result).expect("a reply type serialises")), None),
        Err(error) => {
            let message = error.message.clone();
            (None, Some(ErrorObject { code: SERVER_ERROR, message, data: error.clone() }))
        }
    };
    to_line(&ResponseLine { jsonrpc: "2.0".into(), id: Some(id), method: None, params: None, result, error })
}

/// One event line of a request that is still running.
///
/// # Panics
/// Never for the types of this crate: they all serialise.
#[must_use]
pub fn encode_event<E: Serialize>(event: &E) -> Vec<u8> {
    let params = Some(serde_json::value::to_raw_value(event).expect("an event type serialises"));
    let method = Some("event".into());
    to_line(&ResponseLine { jsonrpc: "2.0".into(), id: None, method, params, result: None, error: None })
}

fn to_line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("a message serialises");
    line.push(b'\n');
    line
}

/// Reads a request line; what it asks is parsed later, by the side that knows the methods.
///
/// # Errors
/// When the line is no request of JSON-RPC 2.0 with an id and parameters.
pub fn parse_request(line: &[u8]) -> Result<RequestLine<'_>, MalformedLine> {
    serde_json::from_slice(line).map_err(MalformedLine)
}

/// Reads a line that a server sent.
///
/// # Errors
/// When it is neither an event nor a response.
pub fn parse_incoming(line: &[u8]) -> Result<Incoming, MalformedLine> {
    let wrong = |what: &str| MalformedLine(serde::de::Error::custom(what));
    let line: ResponseLine = serde_json::from_slice(line).map_err(MalformedLine)?;
    match (line.id, line.params, line.result, line.error) {
        (None, Some(params), None, None) => Ok(Incoming::Event(params)),
        (Some(id), None, Some(result), None) => Ok(Incoming::Response { id, outcome: Ok(result) }),
        (Some(id), None, None, Some(error)) => Ok(Incoming::Response { id, outcome: Err(error.data) }),
        _ => Err(wrong("neither an event nor a response")),
    }
}

impl MalformedLine {
    /// The error to answer such a line with.
    #[must_use]
    pub fn to_rpc_error(&self) -> RpcError {
        RpcError::from_error(ErrorKind::BadRequest, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_and_an_error_arrive_as_sent() {
        let line = encode_response(7, &Ok::<_, RpcError>(vec![1, 2]));
        assert!(line.ends_with(b"\n"));
        let Ok(Incoming::Response { id: 7, outcome: Ok(result) }) = parse_incoming(&line) else { panic!() };
        assert_eq!(result.get(), "[1,2]");

        let error = RpcError::new(ErrorKind::NotFound, "no VM `dev`").with_hint("banger vm list");
        let line = encode_response::<()>(8, &Err(error.clone()));
        let Ok(Incoming::Response { id: 8, outcome: Err(received) }) = parse_incoming(&line) else {
            panic!()
        };
        assert_eq!(received, error);
    }

    #[test]
    fn a_request_with_a_stray_field_or_the_wrong_version_is_refused() {
        assert!(parse_request(br#"{"jsonrpc":"2.0","id":1,"method":"a","params":{}}"#).is_ok());
        for bad in [
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"x":1}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"a","params":{}}"#,
            r#"{"id":1,"method":"a","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#,
            r"[]",
            "",
        ] {
            assert!(parse_request(bad.as_bytes()).is_err(), "{bad} was accepted");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parsers_panic(line: Vec<u8>) {
            let _ = parse_request(&line);
            let _ = parse_incoming(&line);
        }
    }
}
