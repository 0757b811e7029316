//! The two kinds of process the daemon talks to: the helper ([`helper`], started by [`helper_process`]), and the
//! agents inside guests ([`agent`]).

pub(crate) mod agent;
pub(crate) mod helper;
mod helper_process;

pub(crate) use helper_process::probe_namespaces;
