//! What the helper is started with. In local mode these are its settings, there is no file.

use crate::settings::{self, SettingsError};
use crate::socket::Place;
use banger_protocol::root_api::{ProcessIdentity, Settings};
use std::ffi::OsString;

const USAGE: &str = "bangerd-root --local --socket PATH --bridge NAME --address A.B.C.D/N
             [--nft PATH] [--qemu PATH] [--vsock-backend PATH] [--firecracker PATH]
             [--join-pid PID --join-start-time TICKS]
bangerd-root --local --probe
bangerd-root --system
bangerd-root --system --clear

The part of banger that makes bridges, taps and VM processes. bangerd starts it, or systemd does where banger is
installed; there is no need to do so by hand.";

/// What was asked for on the command line.
#[derive(Debug)]
pub(crate) enum Asked {
    Serve(CommandLine),
    /// To serve the owner of the installed system.
    ServeSystem,
    /// To remove what the installed helper has made of the host's network.
    ClearSystem,
    /// To try whether namespaces can be made here, and nothing else.
    Probe,
    /// Help or the version.
    Print(String),
}

#[derive(Debug)]
pub(crate) struct CommandLine {
    pub(crate) settings: Settings,
    pub(crate) socket: Place,
    /// A living VM's process whose namespaces to enter again.
    pub(crate) join: Option<ProcessIdentity>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandLineError {
    #[error("the command line was not understood")]
    Syntax(#[source] lexopt::Error),
    #[error("nothing was started: one of --local and --system is needed")]
    Mode,
    #[error("nothing was started: {0} is missing")]
    Missing(&'static str),
    #[error("nothing was started: --join-pid and --join-start-time go together")]
    HalfJoin,
    #[error("the settings were not accepted")]
    Settings(#[source] SettingsError),
}

impl CommandLineError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Mode => "banger starts this program itself: use `banger vm run`",
            _ => "bangerd-root --help",
        }
    }
}

/// Reads the arguments, the program's own name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, CommandLineError> {
    use CommandLineError as Error;
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_iter(arguments);
    let (mut local, mut system, mut probe, mut clear) = (false, false, false, false);
    let (mut socket, mut bridge, mut address) = (None, None, None);
    let (mut qemu, mut vsock_backend, mut firecracker, mut nft) = (None, None, None, None);
    let (mut join_pid, mut join_start_time) = (None, None);
    let mut read = || -> Result<Option<String>, lexopt::Error> {
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(Some(USAGE.to_owned())),
                Long("version") => return Ok(Some(format!("bangerd-root {}", banger_protocol::VERSION))),
                Long("local") => local = true,
                Long("system") => system = true,
                Long("probe") => probe = true,
                Long("clear") => clear = true,
                Long("socket") => socket = Some(parser.value()?),
                Long("bridge") => bridge = Some(parser.value()?.string()?),
                Long("address") => address = Some(parser.value()?.string()?),
                Long("qemu") => qemu = Some(parser.value()?.string()?),
                Long("vsock-backend") => vsock_backend = Some(parser.value()?.string()?),
                Long("firecracker") => firecracker = Some(parser.value()?.string()?),
                Long("nft") => nft = Some(parser.value()?.string()?),
                Long("join-pid") => join_pid = Some(parser.value()?.parse()?),
                Long("join-start-time") => join_start_time = Some(parser.value()?.parse()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(None)
    };
    if let Some(text) = read().map_err(Error::Syntax)? {
        return Ok(Asked::Print(text));
    }
    if local == system {
        return Err(Error::Mode);
    }
    if system {
        return Ok(if clear { Asked::ClearSystem } else { Asked::ServeSystem });
    }
    if probe {
        return Ok(Asked::Probe);
    }
    let socket = socket.ok_or(Error::Missing("--socket"))?;
    let bridge = bridge.ok_or(Error::Missing("--bridge"))?;
    let (address, prefix) =
        settings::parse_network(&address.ok_or(Error::Missing("--address"))?).map_err(Error::Settings)?;
    let join = match (join_pid, join_start_time) {
        (Some(pid), Some(start_time)) => Some(ProcessIdentity { pid, start_time }),
        (None, None) => None,
        _ => return Err(Error::HalfJoin),
    };
    let settings = Settings { qemu, vsock_backend, firecracker, nft, bridge, address, prefix };
    settings::check(&settings).map_err(Error::Settings)?;
    Ok(Asked::Serve(CommandLine { settings, socket: Place::new(socket), join }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Asked, CommandLineError> {
        parse(std::iter::once("bangerd-root").chain(words.split_whitespace()).map(OsString::from))
    }

    const LEAST: &str = "--local --socket /run/b.sock --bridge br-banger --address 172.16.0.1/24";

    #[test]
    fn the_least_command_line_serves() {
        let Ok(Asked::Serve(command_line)) = parse_words(LEAST) else { panic!("not accepted") };
        assert_eq!(command_line.settings.prefix, 24);
        assert_eq!(command_line.settings.qemu, None);
        assert_eq!(command_line.join, None);
    }

    #[test]
    fn a_process_to_join_needs_its_start_time() {
        let both = format!("{LEAST} --join-pid 7 --join-start-time 99");
        let Ok(Asked::Serve(command_line)) = parse_words(&both) else { panic!("not accepted") };
        assert_eq!(command_line.join, Some(ProcessIdentity { pid: 7, start_time: 99 }));
        let half = format!("{LEAST} --join-pid 7");
        assert!(matches!(parse_words(&half), Err(CommandLineError::HalfJoin)));
    }

    #[test]
    fn it_serves_the_system_or_whoever_started_it_and_not_both() {
        assert!(matches!(parse_words("--system"), Ok(Asked::ServeSystem)));
        for words in ["--socket /run/b.sock", "--local --system", ""] {
            let error = parse_words(words).unwrap_err();
            assert!(matches!(error, CommandLineError::Mode), "{words}: {error}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--local",
            "--local --socket /run/b.sock --bridge br-banger --address 172.16.0.1",
            "--local --socket /run/b.sock --bridge ../../x --address 172.16.0.1/24",
            "--local --socket /run/b.sock --bridge br-banger --address 172.16.0.1/24 --qemu qemu",
            "--local --socket /run/b.sock --bridge br-banger --address 172.16.0.1/24 extra",
            "--local --frobnicate",
        ] {
            assert!(parse_words(words).is_err(), "`{words}` was accepted");
        }
    }
}
