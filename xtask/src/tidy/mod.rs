//! Rules that compilers and lints do not know, checked on the sources as they lie.
//!
//! Every rule is a function from text to complaints, so each has a test that plants what it forbids. [`check`]
//! only gathers the texts. A rule that is in somebody's way is changed here, in view of everybody; there is no
//! way to silence one for a single file.

mod arrows;
mod helper_dependencies;
mod manifest;
mod modules;
mod promises;
mod sources;
mod words;

use crate::place::Place;
use crate::tool::cargo;
use anyhow::{Result, bail};
use std::fmt;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    /// Relative to the checkout; `path:line` where there is a line.
    at: String,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Complains about everything at once.
pub(crate) fn check(place: &Place) -> Result<()> {
    let complaints = complaints(place)?;
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        1 => bail!("one thing is untidy"),
        several => bail!("{several} things are untidy"),
    }
}

fn complaints(place: &Place) -> Result<Vec<Complaint>> {
    let sources = sources::read(&place.root)?;
    let strangers = words::Strangers::of_this_machine(&place.root);
    let mut complaints: Vec<Complaint> = sources
        .iter()
        .flat_map(|source| {
            [modules::check(source, &sources), manifest::check(source), strangers.check(source)]
        })
        .flatten()
        .collect();
    if let Some(page) = sources.iter().find(|source| source.path == promises::PAGE) {
        complaints.extend(promises::check(page, &sources));
    }
    let tree = cargo(place)?.args(arrows::TREE).output()?;
    complaints.extend(arrows::check(&arrows::parse(&tree)));
    if let Some(list) = sources.iter().find(|source| source.path == helper_dependencies::LIST) {
        let tree = cargo(place)?.args(helper_dependencies::TREE).output()?;
        complaints.extend(helper_dependencies::check(&list.text, &tree));
    } else if sources.iter().any(|source| source.path == helper_dependencies::MANIFEST) {
        complaints.push(helper_dependencies::list_is_missing());
    }
    complaints.sort();
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_tidy() {
        let place = Place::find().expect("tests run from a target folder");
        let complaints = complaints(&place).expect("the sources are readable");
        let text: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert!(complaints.is_empty(), "{}", text.join("\n"));
    }
}
