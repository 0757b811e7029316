//! What a user meets, with a daemon and guests that are not real.

mod building;
mod copies;
mod creating;
mod export;
mod fake;
mod guest_commands;
mod sessions;
mod ssh;
mod ssh_agent;
mod terminals;
mod the_daemon;
mod vms;
mod workspace;

const ONE: &str = "aaaaaaaaaaaa";
const TWO: &str = "abbbbbbbbbbb";
