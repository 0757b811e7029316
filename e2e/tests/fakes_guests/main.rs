//! Everything of banger but the guest: the command, the daemon and its helper with their sockets, processes and
//! taps, over guests that boot in milliseconds and do what their image's name says.

mod adoption;
mod background;
mod copies;
mod crash;
mod damage;
mod egress;
mod ends;
mod faults;
mod lease;
mod life;
mod names;
mod personal;
mod questions;
mod races;
mod sessions;
mod socket;
mod ssh;
mod verbs;
mod workspace;
