//! The processes the daemon has to do with: the helper ([`helper`], started by [`helper_process`]), the agents inside
//! guests ([`agent`]), and what carries guests' traffic out ([`pasta`]).

pub(crate) mod agent;
pub(crate) mod helper;
mod helper_process;
pub(crate) mod pasta;

pub(crate) use helper_process::probe_namespaces;
