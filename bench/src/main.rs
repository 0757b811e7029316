//! `banger-bench`: the figures banger promises, measured here and now, in one table.
//!
//! `cargo xtask bench` builds everything and starts this. Each module of [`lines`] measures one promise and returns
//! its lines; adding one is adding a row to [`lines::ALL`]. What can be measured without a guest is the group `fakes`
//! and takes a minute or two; the group `guest` boots real ones.
//!
//! A missed target fails the command. With `--check` it is not the targets that decide but the ratios that are written
//! down in a file, each within its band ([`baseline`]): a slow machine misses targets, and changes no ratio by much.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is what this is for")]

mod baseline;
mod emulation;
mod figure;
mod inside;
mod lines;
mod machine;
mod samples;
mod table;

use anyhow::{Context as _, Result, bail};
use figure::{Line, Outcome};
use lines::{ALL, Entry, Group};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Default)]
struct Arguments {
    only: Option<Group>,
    /// Parts of ids; every line when empty.
    names: Vec<String>,
    json: Option<PathBuf>,
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match inside::asked() {
        Some(words) => inside::run(&words).map(|()| ExitCode::SUCCESS),
        None => parse().and_then(|arguments| run(&arguments)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn parse() -> Result<Arguments> {
    use lexopt::ValueExt as _;
    let mut arguments = Arguments::default();
    let mut words = lexopt::Parser::from_env();
    while let Some(word) = words.next()? {
        match word {
            lexopt::Arg::Long("only") => arguments.only = Some(words.value()?.parse()?),
            lexopt::Arg::Long("json") => arguments.json = Some(words.value()?.into()),
            lexopt::Arg::Long("check") => arguments.check = Some(words.value()?.into()),
            lexopt::Arg::Value(name) => arguments.names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bands = arguments.check.as_deref().map(baseline::read).transpose()?;
    let wanted = |entry: &&Entry| {
        arguments.only.is_none_or(|only| only == entry.group)
            && (arguments.names.is_empty() || arguments.names.iter().any(|name| entry.name.contains(name)))
    };
    let mut measured: Vec<(&Entry, Vec<Line>)> =
        ALL.iter().filter(wanted).map(|entry| (entry, measure(entry))).collect();
    if measured.is_empty() {
        bail!("nothing was measured: no line has a name like {}", arguments.names.join(" or "));
    }
    if let Some(bands) = &bands {
        // Somebody else's burst of work is over by the second time; what became slower has not.
        for (entry, lines) in &mut measured {
            if !baseline::left_by(bands, lines).is_empty() {
                *lines = measure(entry);
            }
        }
    }
    let measured: Vec<Line> = measured.into_iter().flat_map(|(_, lines)| lines).collect();
    println!("{}", machine::describe());
    print!("{}", table::render(&measured));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&machine::report(&measured)).context("the report in JSON")?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let complaints: Vec<String> = match bands {
        Some(bands) => baseline::check(&bands, &measured),
        None => measured.iter().filter(|line| !line.is_well()).map(|line| line.id.to_owned()).collect(),
    };
    for complaint in &complaints {
        println!("bench: missed: {complaint}");
    }
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What cannot be measured, because something broke, is a line as well and keeps none of the others from being told.
fn measure(entry: &Entry) -> Vec<Line> {
    eprintln!("bench: {}", entry.name);
    let failed = |why: String| vec![Line { id: entry.name, what: entry.name, outcome: Outcome::Broken(why) }];
    match std::panic::catch_unwind(entry.measure) {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => failed(format!("{error:#}")),
        Err(_) => failed("it broke off, see above".to_owned()),
    }
}
