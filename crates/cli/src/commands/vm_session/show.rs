use super::ask;
use super::told::how_it_ended;
use crate::commands::tip::typed;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::guest_api::Exit;
use banger_protocol::guest_api::session::{Request, Session, State};
use banger_protocol::names::{SessionName, VmRef};
use banger_protocol::size::ByteSize;
use serde::Serialize;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Show the details of a session
///
/// `banger vm session show dev web` shows its state, start time, and exit code. Then `banger vm session logs dev web` prints
/// its output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let session: Session = ask(&VmRef(self.vm), Request::Show { name: self.name })?;
        let shown = Shown::from(session);
        if self.json {
            printer::json(&shown)?;
        } else {
            printer::foreign_data(&describe(&shown))?;
        }
        Ok(0)
    }
}

/// A session as programs and people are told of it: with times of this machine's clock, which the guest's may not be.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) name: SessionName,
    state: &'static str,
    /// Set when it has ended, unless a signal ended it.
    exit_code: Option<u8>,
    /// The signal that ended it.
    signal: Option<u8>,
    command: Vec<String>,
    user: String,
    terminal: bool,
    pid: u32,
    pub(super) started: String,
    ended: Option<String>,
    written_bytes: u64,
    dropped_bytes: u64,
    attached: u32,
    #[serde(skip)]
    exit: Option<Exit>,
}

impl From<Session> for Shown {
    fn from(session: Session) -> Self {
        let (exit, ended) = match session.state {
            State::Running => (None, None),
            State::Ended { exit, ago_ms } => (Some(exit), Some(ago(ago_ms))),
        };
        let code = |exit: &Exit| match exit {
            Exit::Code(code) | Exit::NotStarted { code, .. } => Some(*code),
            Exit::Signal(_) => None,
        };
        let signal = |exit: &Exit| match exit {
            Exit::Signal(signal) => Some(*signal),
            Exit::Code(_) | Exit::NotStarted { .. } => None,
        };
        Self {
            name: session.name,
            state: if exit.is_none() { "running" } else { "ended" },
            exit_code: exit.as_ref().and_then(code),
            signal: exit.as_ref().and_then(signal),
            command: session.argv,
            user: session.user,
            terminal: session.terminal,
            pid: session.pid,
            started: ago(session.age_ms),
            ended,
            written_bytes: session.written,
            dropped_bytes: session.dropped,
            attached: session.attached,
            exit,
        }
    }
}

impl Shown {
    pub(super) fn state_in_words(&self) -> String {
        self.exit.as_ref().map_or_else(|| "running".to_owned(), how_it_ended)
    }

    pub(super) fn command_as_typed(&self) -> String {
        if self.command.is_empty() {
            return "a login shell".to_owned();
        }
        typed(&self.command.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The time so long ago, to the second.
fn ago(milliseconds: u64) -> String {
    let now = OffsetDateTime::now_utc();
    // However long a guest claims it was.
    let then = now.checked_sub(Duration::from_millis(milliseconds).try_into().unwrap_or(time::Duration::MAX));
    let then = then.unwrap_or(OffsetDateTime::UNIX_EPOCH).replace_nanosecond(0);
    then.ok().and_then(|then| then.format(&Rfc3339).ok()).unwrap_or_default()
}

fn describe(session: &Shown) -> String {
    let mut lines = vec![
        ("name", session.name.to_string()),
        ("state", session.state_in_words()),
        ("command", session.command_as_typed()),
        ("user", session.user.clone()),
        ("started", format!("{} ({})", session.started, printer::age(&session.started))),
    ];
    lines.extend(session.ended.as_ref().map(|ended| ("ended", format!("{ended} ({})", printer::age(ended)))));
    if session.exit.is_none() {
        lines.push(("pid", session.pid.to_string()));
        lines.push(("terminal", if session.terminal { "yes" } else { "no" }.to_owned()));
        lines.push(("attached", format!("{} clients", session.attached)));
    }
    let mut output = printer::rounded(ByteSize::bytes(session.written_bytes));
    if session.dropped_bytes > 0 {
        output.push_str(&format!(
            ", the first {} are kept no longer",
            printer::rounded(ByteSize::bytes(session.dropped_bytes))
        ));
    }
    lines.push(("output", output));
    lines.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(state: State) -> Session {
        Session {
            name: "web".parse().unwrap(),
            argv: ["sh", "-c", "a b"].map(str::to_owned).into(),
            user: "root".into(),
            terminal: false,
            pid: 7,
            state,
            age_ms: u64::MAX,
            written: 12 << 20,
            dropped: 4 << 20,
            attached: 2,
        }
    }

    #[test]
    fn people_are_told_how_it_is_and_what_is_lost() {
        let text = describe(&session(State::Running).into());
        for words in ["running", "sh -c 'a b'", "12.0 MiB, the first 4.0 MiB are kept no longer", "2 clients"]
        {
            assert!(text.contains(words), "{text}");
        }
        let ended = State::Ended { exit: Exit::Signal(9), ago_ms: 90_000 };
        let text = describe(&session(ended).into());
        assert!(text.contains("was killed by SIGKILL") && text.contains("1 minute ago"), "{text}");
    }

    #[test]
    fn programs_are_told_the_code_or_the_signal() {
        let json =
            |exit| serde_json::to_value(Shown::from(session(State::Ended { exit, ago_ms: 0 }))).unwrap();
        let code = json(Exit::Code(3));
        assert_eq!(
            (&code["state"], &code["exit_code"], &code["signal"]),
            (&"ended".into(), &3.into(), &().into())
        );
        let signal = json(Exit::Signal(15));
        assert_eq!((&signal["exit_code"], &signal["signal"]), (&().into(), &15.into()));
    }
}
