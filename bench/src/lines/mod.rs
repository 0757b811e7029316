//! What is measured, one promise a file.

mod boot;
mod create;
mod disks;
mod dns;
mod ext4;
mod guest;
mod in_memory;
mod layers;
mod memory;
mod parallel;
mod rows;
mod start_up;
mod stop;
mod tap;
mod tree;
mod workspace;

pub(crate) use tree::image;

use crate::figure::Line;
use anyhow::Result;
use std::str::FromStr;

/// What measuring takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// No guest: fakes, or nothing but our own programs.
    Fakes,
    /// Real guests.
    Guest,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fakes" => Ok(Self::Fakes),
            "guest" => Ok(Self::Guest),
            _ => Err(format!("there is no group `{text}`: fakes, guest")),
        }
    }
}

/// Some lines that are measured together.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: &'static str,
    pub group: Group,
    pub measure: fn() -> Result<Vec<Line>>,
}

pub(crate) const ALL: &[Entry] = &[
    Entry { name: "start-up", group: Group::Fakes, measure: start_up::measure },
    Entry { name: "create", group: Group::Fakes, measure: create::measure },
    Entry { name: "disks", group: Group::Fakes, measure: disks::measure },
    Entry { name: "parallel", group: Group::Fakes, measure: parallel::measure },
    Entry { name: "memory", group: Group::Fakes, measure: memory::measure },
    Entry { name: "dns", group: Group::Fakes, measure: dns::measure },
    Entry { name: "tap", group: Group::Fakes, measure: tap::measure },
    Entry { name: "stop", group: Group::Fakes, measure: stop::with_fakes },
    Entry { name: "image", group: Group::Fakes, measure: ext4::measure },
    Entry { name: "layers", group: Group::Fakes, measure: layers::measure },
    Entry { name: "guest", group: Group::Guest, measure: guest::measure },
    Entry { name: "workspace", group: Group::Guest, measure: workspace::measure },
    Entry { name: "boot", group: Group::Guest, measure: boot::measure },
];
