//! The arguments that banger starts Firecracker with, and no others.

use super::VERSION;
use std::path::PathBuf;

const DEFAULT_SOCKET: &str = "/run/firecracker.socket";
const DEFAULT_ID: &str = "anonymous-instance";
/// Names of levels, those before [`DEFAULT_LEVEL`] telling less than it.
const LEVELS: [&str; 7] = ["off", "error", "warning", "warn", "info", "debug", "trace"];
const DEFAULT_LEVEL: &str = "info";
const LONGEST_ID: usize = 64;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// `--version`.
    Version,
    Run(Run),
}

/// An API to serve.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub(super) socket: PathBuf,
    pub(super) id: String,
    pub(super) log: Option<PathBuf>,
    pub(super) metrics: Option<PathBuf>,
    pub(super) verbosity: Verbosity,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    Nothing,
    Faults,
    Everything,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("Arguments parsing error: Found argument '{0}' which wasn't expected")]
    Unexpected(String),
    #[error("Arguments parsing error: The argument '{0}' requires a value")]
    NoValue(String),
    #[error("Arguments parsing error: The argument '{0}' was provided more than once")]
    Twice(String),
    #[error("Invalid value for logger level: {0}")]
    Level(String),
    #[error("Invalid instance ID: {0}")]
    Id(String),
}

impl CommandLineError {
    /// The real one's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unexpected(_) | Self::NoValue(_) | Self::Twice(_) => 153,
            Self::Level(_) => 152,
            // It aborts.
            Self::Id(_) => 134,
        }
    }
}

impl CommandLine {
    /// # Errors
    /// When it holds what banger does not write.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, CommandLineError> {
        let mut words = words.into_iter().peekable();
        if words.peek().is_some_and(|word| word == "--version") {
            return Ok(Self::Version);
        }
        let [mut socket, mut id, mut log, mut level, mut metrics] = [const { None }; 5];
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or(&word);
            let place = match word.as_str() {
                "--api-sock" => &mut socket,
                "--id" => &mut id,
                "--log-path" => &mut log,
                "--level" => &mut level,
                "--metrics-path" => &mut metrics,
                _ => return Err(CommandLineError::Unexpected(name.to_owned())),
            };
            let value = words.next().filter(|value| !value.starts_with("--"));
            let value = value.ok_or_else(|| CommandLineError::NoValue(name.to_owned()))?;
            if place.replace(value).is_some() {
                return Err(CommandLineError::Twice(name.to_owned()));
            }
        }
        let verbosity = verbosity(level.as_deref().unwrap_or(DEFAULT_LEVEL))?;
        let id = id.unwrap_or_else(|| DEFAULT_ID.to_owned());
        let fits = |c: char| c == '-' || c.is_alphanumeric();
        if !(1..=LONGEST_ID).contains(&id.len()) || !id.chars().all(fits) {
            return Err(CommandLineError::Id(id));
        }
        let socket = socket.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from);
        let [log, metrics] = [log, metrics].map(|path| path.map(PathBuf::from));
        Ok(Self::Run(Run { socket, id, log, metrics, verbosity }))
    }

    /// What `--version` prints: the line, an empty one, and one of the log.
    #[must_use]
    pub fn version_text() -> String {
        format!(
            "Firecracker v{VERSION}\n\n[{DEFAULT_ID}:main] Firecracker exiting successfully. exit_code=0\n"
        )
    }
}

fn verbosity(level: &str) -> Result<Verbosity, CommandLineError> {
    let rank = |wanted: &str| LEVELS.iter().position(|name| name.eq_ignore_ascii_case(wanted));
    match rank(level) {
        None => Err(CommandLineError::Level(level.to_owned())),
        Some(0) => Ok(Verbosity::Nothing),
        given if given < rank(DEFAULT_LEVEL) => Ok(Verbosity::Faults),
        Some(_) => Ok(Verbosity::Everything),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, CommandLineError> {
        CommandLine::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_banger_writes_is_understood() {
        let run = |verbosity| {
            let (socket, log, metrics) =
                ("api.sock".into(), Some("vmm.log".into()), Some("metrics.log".into()));
            Ok(CommandLine::Run(Run { socket, id: "0123".to_owned(), log, metrics, verbosity }))
        };
        let words = "--api-sock api.sock --id 0123 --log-path vmm.log --metrics-path metrics.log";
        assert_eq!(parse(words), run(Verbosity::Everything));
        for (level, verbosity) in [
            ("Off", Verbosity::Nothing),
            ("Error", Verbosity::Faults),
            ("Warn", Verbosity::Faults),
            ("info", Verbosity::Everything),
            ("Debug", Verbosity::Everything),
        ] {
            assert_eq!(parse(&format!("{words} --level {level}")), run(verbosity), "{level}");
        }
        assert_eq!(parse("--version"), Ok(CommandLine::Version));
    }

    #[test]
    fn what_firecracker_or_banger_does_not_know_is_refused() {
        for (line, code) in [
            ("--api-socket x", 153),
            ("x", 153),
            ("--config-file x", 153),
            ("--api-sock", 153),
            ("--api-sock --id", 153),
            ("--id a --id b", 153),
            ("--level chatty", 152),
            ("--id a.b", 134),
        ] {
            assert_eq!(parse(line).map_err(|error| error.exit_code()), Err(code), "{line}");
        }
    }
}
