//! Running a command of the host's on this machine, with the little that the helper left this process.
//!
//! Frames as a real agent sends them; of terminals and users there are none.

use super::hold::Hold;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::{Exec, Exit};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The host's end, one frame at a time.
type Host = Arc<Mutex<UnixStream>>;

pub(super) fn run(stream: &mut UnixStream, exec: &Exec, hold: &Arc<Hold>) -> io::Result<()> {
    let mut child = match start(exec) {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            let program = exec.argv.first().map_or("the login shell", String::as_str);
            let why = if code == 127 { "not found".to_owned() } else { error.to_string() };
            let exit = Exit::NotStarted { code, reason: format!("{program}: {why}") };
            return frame::write_json(stream, Kind::Exit, &exit);
        }
    };
    frame::write(stream, Kind::Started, &[])?;
    let host: Host = Arc::new(Mutex::new(stream.try_clone()?));
    let ended = Arc::new(AtomicBool::new(false));
    let stdin = child.stdin.take().map(|pipe| feed(pipe, host.clone()));
    let (from, flag, group) = (stream.try_clone()?, ended.clone(), Pid::from_child(&child));
    thread::spawn(move || obey(from, stdin, &flag, group));
    let outputs = [
        carry(child.stdout.take(), Kind::Stdout, host.clone(), hold.clone()),
        carry(child.stderr.take(), Kind::Stderr, host.clone(), hold.clone()),
    ];
    let status = child.wait()?;
    ended.store(true, Ordering::SeqCst);
    for output in outputs {
        let _ = output.join();
    }
    hold.pass();
    let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
    frame::write_json(&mut *host, Kind::Exit, &exit(status))
}

fn start(exec: &Exec) -> io::Result<Child> {
    let words: &[String] = if exec.argv.is_empty() { &["/bin/sh".to_owned()] } else { &exec.argv };
    #[expect(clippy::disallowed_methods, reason = "running what the test names is what this is for")]
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("PATH", "/usr/bin:/bin").envs(&exec.env);
    command.current_dir(exec.cwd.as_deref().unwrap_or("/")).process_group(0);
    command.stdin(if exec.stdin { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn exit(status: ExitStatus) -> Exit {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    status
        .signal()
        .map_or_else(|| Exit::Code(byte(status.code().unwrap_or(0))), |signal| Exit::Signal(byte(signal)))
}

/// Sends an output's bytes until its end.
fn carry(
    pipe: Option<impl Read + Send + 'static>,
    kind: Kind,
    host: Host,
    hold: Arc<Hold>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            hold.pass();
            let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
            if frame::write(&mut *host, kind, &buffer[..length]).is_err() {
                return;
            }
        }
    })
}

/// Gives the command its input, and the host credit for what was taken. Dropping the sender closes the input.
fn feed(mut pipe: ChildStdin, host: Host) -> Sender<Vec<u8>> {
    let (sender, chunks): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
    thread::spawn(move || {
        for chunk in chunks {
            // A command that reads no more still takes it, as a shell's pipe would.
            let _ = pipe.write_all(&chunk);
            let credit = u32::try_from(chunk.len()).expect("a frame is no longer than that");
            let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = frame::write(&mut *host, Kind::StdinCredit, &credit.to_le_bytes());
        }
    });
    sender
}

/// Takes the host's frames until it goes away, which hangs the command up.
fn obey(mut host: UnixStream, mut stdin: Option<Sender<Vec<u8>>>, ended: &AtomicBool, group: Pid) {
    let signal = |signal: Signal| {
        if !ended.load(Ordering::SeqCst) {
            let _ = kill_process_group(group, signal);
        }
    };
    while let Ok(Some(frame)) = frame::read(&mut host) {
        match (frame.kind, &stdin) {
            (Kind::Stdin, Some(sender)) => drop(sender.send(frame.payload)),
            (Kind::StdinEnd, _) => stdin = None,
            (Kind::Signal, _) => {
                if let Some(named) = frame.payload.first().and_then(|&n| Signal::from_named_raw(n.into())) {
                    signal(named);
                }
            }
            _ => {}
        }
    }
    signal(Signal::HUP);
}
