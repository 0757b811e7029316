use super::{agent_of, told};
use crate::failure::Outcome;
use crate::guest::{self, Sent};
use banger_protocol::names::{SessionName, VmRef};

/// Send input to a session
///
///     banger vm session send dev repl "print(42)"    send a line
///     banger vm session send dev load < data.csv     send a file
///     banger vm session send dev load --eof          close the input
///
/// Arguments are joined with spaces and sent as one line. Without any, standard input
/// is sent. The command returns when the session has read it. Then
/// `banger vm session logs dev repl` prints the output.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Session name
    name: SessionName,
    /// Close the input of the command; on a terminal, type Ctrl-D
    #[arg(long)]
    eof: bool,
    /// Do not append a newline
    #[arg(short, long)]
    no_newline: bool,
    /// Text to send; put `--` before text that starts with a dash
    text: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = VmRef(self.vm);
        let sent = match self.text.is_empty() {
            false => Sent::Bytes(line(&self.text, self.no_newline)),
            // Nobody types on and on only to end it.
            true if self.eof && guest::stdin_is_terminal() => Sent::Bytes(Vec::new()),
            true => Sent::Stdin,
        };
        guest::send(agent_of(&vm)?, self.name, sent, self.eof).map_err(|error| told(error, &vm))?;
        Ok(0)
    }
}

fn line(words: &[String], no_newline: bool) -> Vec<u8> {
    let mut line = words.join(" ").into_bytes();
    line.extend((!no_newline).then_some(b'\n'));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_line_unless_told_otherwise() {
        let words = ["a", "b  c"].map(str::to_owned);
        assert_eq!(line(&words, false), b"a b  c\n");
        assert_eq!(line(&words, true), b"a b  c");
    }
}
