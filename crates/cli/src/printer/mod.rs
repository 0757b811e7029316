//! The only place that prints.
//!
//! Data goes to stdout, talk to stderr. Colour and live lines appear only on a terminal and never under
//! `NO_COLOR`. What others wrote (a guest above all) is shown on a terminal only after its control characters
//! were taken out. When the reader of stdout is gone the program ends the way a filter does.

#![expect(clippy::print_stderr, reason = "this is the module that talks to the user")]

mod age;
mod amount;
mod foreign;
mod offers;
mod parts;
mod progress;
mod table;

pub(crate) use age::age;
pub(crate) use amount::{duration, rounded};
pub(crate) use foreign::Foreign;
pub(crate) use offers::{Offer, offers};
pub(crate) use parts::Part;
pub(crate) use progress::Progress;
pub(crate) use table::table;

use crate::failure::{FAILED, Failure, READER_GONE};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use serde::Serialize;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal};
use std::process::ExitCode;

/// One line of data.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// A value as `--json` shows it, with what a terminal would obey escaped.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::of(&error))?;
    line(inert(&text))
}

/// The same JSON without control characters but line ends, for JSON itself leaves those from DEL on as they are.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_control() && character != '\n' {
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

/// Data as it is.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    pass_through(rustix::stdio::stdout(), text.as_bytes()).map_err(|error| output_failure(&error))
}

/// Data that others wrote: made harmless for a terminal, left alone for a file.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn foreign_data(text: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() { data(&harmless(text)) } else { data(text) }
}

/// Bytes to one of our own standard streams, unbuffered; waits when it is a full non-blocking one.
///
/// # Errors
/// The stream's own.
pub(crate) fn pass_through(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut ready = [rustix::event::PollFd::from_borrowed_fd(to, rustix::event::PollFlags::OUT)];
                match rustix::event::poll(&mut ready, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Why stdout was not written to; a reader that went away is no news.
pub(crate) fn output_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::quiet(READER_GONE);
    }
    Failure::message(format!("the output could not be written: {error}"))
}

/// One line of talk, said to people and to logs alike.
pub(crate) fn talk(text: impl Display) {
    eprintln!("{}", harmless(&text.to_string()));
}

/// One line worth telling a person who is watching, and nobody else.
pub(crate) fn remark(text: impl Display) {
    if io::stderr().is_terminal() {
        eprintln!("{}", dim(&harmless(&text.to_string())));
    }
}

/// Asks on the terminal; only a plain yes is one.
pub(crate) fn ask(question: impl Display) -> bool {
    eprint!("{question}");
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Something that went wrong beside what was asked for.
pub(crate) fn warning(text: impl Display) {
    talk(format_args!("banger: warning: {text}"));
}

/// Tells what failed and gives the program's exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    if let Some(report) = &failure.report {
        talk(format_args!("banger: {}", report.message));
        for cause in &report.causes {
            talk(format_args!("  {cause}"));
        }
        for hint in &report.hints {
            talk(format_args!("hint: {hint}"));
        }
        if let Some(operation) = &report.operation {
            eprintln!("{}", dim(&format!("operation {operation}")));
        }
    }
    ExitCode::from(if failure.code == 0 { FAILED } else { failure.code })
}

/// Whether stderr takes colour and lines that change.
fn lively() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether data may have colour.
pub(crate) fn stdout_takes_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn dim(text: &str) -> String {
    if lively() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}

/// The text without what a terminal would obey; line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The same, but colours stay (`ESC [ … m`), which change nothing that the next line's end does not undo for a reader.
pub(crate) fn harmless_but_colour(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut shown = harmless(parts.next().unwrap_or_default());
    for part in parts {
        let end =
            part.strip_prefix('[').and_then(|rest| rest.find(|c: char| !c.is_ascii_digit() && c != ';'));
        match end {
            Some(end) if part[1 + end..].starts_with('m') => {
                shown.push('\x1b');
            }
            _ => shown.push('\u{fffd}'),
        }
        shown.push_str(&harmless(part));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_the_same_without_what_a_terminal_would_obey() {
        let value = serde_json::json!(["\x1b[2J\u{9b}2J\x7f", "ä\n"]);
        let text = inert(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_terminal_is_given_nothing_it_would_obey() {
        assert_eq!(harmless("boot\r\n\ttext"), "boot\n\ttext");
        assert_eq!(
            harmless_but_colour("a\x1b[31mb\x1b[mc\x1b[2Jd\x1b"),
            "a\x1b[31mb\x1b[mc\u{fffd}[2Jd\u{fffd}"
        );
        assert_eq!(harmless("\x1b]0;x\x07\u{9b}2J\r"), "\u{fffd}]0;x\u{fffd}\u{fffd}2J\u{fffd}");
    }
}
