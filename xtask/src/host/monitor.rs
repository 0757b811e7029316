//! QEMU's control socket.
//!
//! Whoever answers here *is* the host of that folder, so nothing has to be remembered of its process and no signal
//! can ever reach another one. Commands are those of QEMU's human monitor, wrapped in the protocol that says where
//! an answer ends.

use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The socket's name in a host's folder.
pub(super) const SOCKET: &str = "monitor";

/// A QEMU that emulates two busy processors still answers within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection. QEMU serves one at a time; others wait for their turn.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// `None` when nobody listens: then no host runs in this folder.
    pub(super) fn connect(folder: &Path) -> Result<Option<Self>> {
        let Some(stream) = connect(folder, SOCKET)? else { return Ok(None) };
        stream.set_read_timeout(Some(PATIENCE)).context("limiting how long QEMU may take to answer")?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.send(r#"{"execute":"qmp_capabilities"}"#)?;
        monitor.answer()?;
        Ok(Some(monitor))
    }

    /// What the human monitor prints for a command.
    pub(super) fn ask(&mut self, command: &str) -> Result<String> {
        self.send(&format!(
            r#"{{"execute":"human-monitor-command","arguments":{{"command-line":{}}}}}"#,
            json_string(command)
        ))?;
        self.answer().with_context(|| format!("asking QEMU to `{command}`"))
    }

    /// A command that prints nothing, or `OK`, when it has done what it was told.
    pub(super) fn tell(&mut self, command: &str) -> Result<()> {
        let said = self.ask(command)?;
        match said.trim() {
            "" | "OK" => Ok(()),
            complaint => bail!("QEMU was told to `{command}` and said: {complaint}"),
        }
    }

    /// Ends QEMU and returns when it has let go of everything.
    pub(super) fn quit(mut self) -> Result<()> {
        self.send(r#"{"execute":"quit"}"#)?;
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error).context("waiting for QEMU to end"),
            }
        }
    }

    fn send(&mut self, line: &str) -> Result<()> {
        writeln!(self.stream.get_mut(), "{line}").context("writing to QEMU's monitor")
    }

    /// Skips the greeting and whatever QEMU reports by itself.
    fn answer(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).context("reading from QEMU's monitor")?;
            if read == 0 {
                bail!("QEMU ended");
            }
            if line.starts_with(r#"{"error""#) {
                bail!("QEMU refused: {}", line.trim_end());
            }
            if let Some(answer) = line.strip_prefix(r#"{"return": "#) {
                return Ok(unescaped(answer.trim_end().trim_end_matches('}')));
            }
        }
    }
}

/// Connects to a socket in a folder whose path may be longer than a socket's may be.
pub(super) fn connect(folder: &Path, socket: &str) -> Result<Option<UnixStream>> {
    let Ok(open) = File::open(folder) else { return Ok(None) };
    let short = format!("/proc/self/fd/{}/{socket}", open.as_raw_fd());
    match UnixStream::connect(short) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("connecting to {}", folder.join(socket).display())),
    }
}

fn json_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

/// The text of a JSON string as far as QEMU's monitor writes them; of anything else nothing.
fn unescaped(json: &str) -> String {
    let Some(inside) = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return String::new();
    };
    let mut text = String::new();
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        text.extend(match character {
            '\\' => match characters.next() {
                Some('n') => Some('\n'),
                Some('t') => Some('\t'),
                Some('r') => None,
                other => other,
            },
            other => Some(other),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that greets, reports something nobody asked for, and gives one answer to each line.
    fn fake(folder: &Path, answers: &'static [&'static str]) -> std::thread::JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("a folder of our own");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let mut heard = Vec::new();
            writeln!(stream, r#"{{"QMP": {{"version": {{}}}}}}"#).expect("somebody reads");
            for answer in answers {
                heard.push(lines.next().expect("a line").expect("text"));
                writeln!(stream, r#"{{"timestamp": {{}}, "event": "RESUME"}}"#).expect("somebody reads");
                writeln!(stream, "{answer}").expect("somebody reads");
            }
            heard
        })
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        folder
    }

    #[test]
    fn answers_are_told_from_greetings_and_events() {
        let folder = folder("monitor-answers");
        let qemu = fake(
            &folder,
            &[r#"{"return": {}}"#, r#"{"return": "a \"b\"\r\nc"}"#, r#"{"return": "Error: no such bus"}"#],
        );
        let mut monitor = Monitor::connect(&folder).expect("it answers").expect("it listens");
        assert_eq!(monitor.ask(r#"info "x""#).expect("an answer"), "a \"b\"\nc");
        let refused = monitor.tell("device_add x").expect_err("it was refused").to_string();
        assert!(refused.ends_with("said: Error: no such bus"), "{refused}");
        let heard = qemu.join().expect("it ended");
        assert!(heard[1].contains(r#""command-line":"info \"x\"""#), "{heard:?}");
        std::fs::remove_dir_all(folder).expect("our own");
    }

    #[test]
    fn a_folder_in_which_no_qemu_listens_has_no_monitor() {
        let folder = folder("monitor-nobody");
        assert!(Monitor::connect(&folder).expect("that is no error").is_none());
        drop(UnixListener::bind(folder.join(SOCKET)).expect("a folder of our own"));
        assert!(Monitor::connect(&folder).expect("that is no error").is_none(), "a dead socket answered");
        std::fs::remove_dir_all(&folder).expect("our own");
        assert!(Monitor::connect(&folder).expect("that is no error").is_none());
    }
}
