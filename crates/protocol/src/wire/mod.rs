//! How requests travel over the Unix sockets: JSON-RPC 2.0, one object a line, descriptors beside it.
//!
//! ```text
//! → {"jsonrpc":"2.0","id":1,"method":"vm.show","params":{"vm":"dev"}}
//! ← {"jsonrpc":"2.0","method":"event","params":{…}}          any number, while a request runs
//! ← {"jsonrpc":"2.0","id":1,"result":{…}}                    exactly one, and it is the last
//! ```
//!
//! A line longer than [`MAX_LINE`] is refused before it is parsed. The first request on a connection is
//! `version`; any other is answered with `bad_version`. File descriptors travel as SCM_RIGHTS with the first
//! byte of the line they belong to.

mod connection;
mod error;
mod message;

pub use connection::{
    Connection, ConnectionError, Line, LineBuffer, LineTooLong, PairError, send, send_some,
};
pub use error::{ErrorKind, RpcError};
pub use message::{
    Incoming, MalformedLine, Method, RequestLine, encode_event, encode_request, encode_response,
    parse_incoming, parse_request,
};

/// Longest line either end accepts, in bytes, its newline included.
pub const MAX_LINE: usize = 1 << 20;

/// Most descriptors that travel with one line: one for each layer of an image. Linux allows 253 (SCM_MAX_FD).
pub const MAX_DESCRIPTORS: usize = 128;

/// Declares one side's complete set of requests: an enum with a case per method, and what each one answers.
///
/// A line is `"name" => Case(Parameters) -> Reply`, and `=> Result` behind it where the reply is the beginning of an
/// operation that ends in a result. Adding one makes the compiler demand the new case wherever requests are answered.
macro_rules! requests {
    ($(#[$doc:meta])* $calls:ident {
        $($(#[doc = $case_doc:literal])+ $name:literal => $case:ident($params:ty) -> $reply:ty $(=> $result:ty)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $calls {
            $($(#[doc = $case_doc])+ $case($params),)+
        }

        $(impl $crate::wire::Method for $params {
            const NAME: &'static str = $name;
            type Reply = $reply;
        })+

        impl $calls {
            /// The name of every method, in the order of their declaration.
            pub const METHODS: &'static [&'static str] = &[$($name),+];

            /// Turns a received method and its parameters into a request.
            ///
            /// # Errors
            /// `unknown_method`, or `bad_request` with what is wrong with the parameters.
            pub fn parse(method: &str, params: &str) -> Result<Self, $crate::wire::RpcError> {
                match method {
                    $($name => serde_json::from_str(params).map(Self::$case).map_err(|e| {
                        $crate::wire::RpcError::new(
                            $crate::wire::ErrorKind::BadRequest,
                            format!("{method}: {e}"),
                        )
                    }),)+
                    _ => Err($crate::wire::RpcError::new(
                        $crate::wire::ErrorKind::UnknownMethod,
                        format!("unknown method `{}`", method.escape_default()),
                    )),
                }
            }

            /// Every method with the schemas of what it takes and answers, in the order of their declaration; what these
            /// share becomes a definition of the generator.
            #[cfg(feature = "schema")]
            pub fn descriptions(
                generator: &mut schemars::SchemaGenerator,
            ) -> Vec<$crate::openrpc::MethodDescription> {
                vec![$($crate::openrpc::MethodDescription {
                    name: $name,
                    summary: concat!($($case_doc),+).trim(),
                    params: <$params as schemars::JsonSchema>::json_schema(generator),
                    reply: generator.subschema_for::<$reply>(),
                    result: None$(.or(Some(generator.subschema_for::<$result>())))?,
                }),+]
            }

            /// The method's name, for logs.
            #[must_use]
            pub fn method(&self) -> &'static str {
                match self { $(Self::$case(_) => $name,)+ }
            }
        }
    };
}
pub(crate) use requests;
