use super::ask;
use super::told::signal_name;
use crate::failure::Outcome;
use banger_protocol::guest_api::session::Request;
use banger_protocol::names::{SessionName, VmRef};

/// Send a signal to the command of a session
///
/// `banger vm session signal dev web HUP` makes many servers reload their configuration. The signal goes to the command's
/// process group, like one from a terminal. Then `banger vm session show dev web` shows whether it is still running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Signal name or number, such as `INT`, `SIGINT`, or `2`
    #[arg(value_parser = signal)]
    signal: u8,
}

/// The last of the real-time ones (signal(7)).
const HIGHEST: u8 = 64;

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let request = Request::Signal { name: self.name, signal: self.signal };
        ask::<()>(&VmRef(self.vm), request)?;
        Ok(0)
    }
}

fn signal(text: &str) -> Result<u8, String> {
    let wanted = text.to_ascii_uppercase();
    let is_called = |number: u8| {
        let name = signal_name(number);
        name == wanted || name.strip_prefix("SIG") == Some(&wanted)
    };
    let by_number = wanted.parse().ok().filter(|number| (1..=HIGHEST).contains(number));
    by_number
        .or_else(|| (1..=HIGHEST).find(|&number| is_called(number)))
        .ok_or_else(|| format!("`{text}` is not a signal: write a signal such as `INT`, `HUP`, or `USR1`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_a_longer_one_and_a_number() {
        for (text, number) in
            [("TERM", 15), ("SIGTERM", 15), ("sigint", 2), ("hup", 1), ("9", 9), ("USR1", 10), ("40", 40)]
        {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for wrong in ["", "0", "65", "-9", "SIG", "SIGSIGTERM", "nope", "signal 40"] {
            assert!(signal(wrong).is_err(), "{wrong}");
        }
    }
}
