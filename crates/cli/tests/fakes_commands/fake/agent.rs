//! The agent's side of one connection.

use super::session;
use banger_copy::{Destination, Entry, MODES_FROM_HOST, Modified, Receiver, Step, What, send};
use banger_guest_agent::exec::offer_ssh_agent;
use banger_guest_agent::turn::Turns;
use banger_protocol::guest_api::frame::{self, Kind};
use banger_protocol::guest_api::{Copied, Exec, Exit, Request, Terminal};
use banger_protocol::image_config::ImageConfig;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// Serves one request. A command named `vanish` is a guest that dies: the connection just ends.
pub(super) fn serve(mut stream: UnixStream, home: &Path, turns: &Turns, on_terminal: impl FnOnce(String)) {
    let Ok(Some(request)) = frame::read(&mut stream) else { return };
    match serde_json::from_slice(&request.payload).unwrap() {
        Request::BeginTurn { turn } => match turns.begin(&turn) {
            Ok(()) => frame::write_json(&mut stream, Kind::Reply, &()).unwrap_or_default(),
            Err(error) => answer(&mut stream, Err(error.to_string())),
        },
        Request::InTurn { turn } => match turns.join(&turn, &stream) {
            Ok(part) => {
                serve(stream, home, turns, on_terminal);
                drop(part);
            }
            Err(error) => answer(&mut stream, Err(error.to_string())),
        },
        Request::Exec(exec) if exec.argv.first().is_some_and(|program| program == "vanish") => {
            frame::write(&mut stream, Kind::Stdout, b"half").unwrap();
        }
        Request::Exec(exec) => {
            if let Some(Terminal { term, size }) = &exec.terminal {
                on_terminal(format!("{term} {}x{}", size.rows, size.columns));
            }
            execute(stream, exec, home);
        }
        Request::Dial { port: 22 } => {
            frame::write(&mut stream, Kind::Started, &[]).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
        Request::Dial { .. } => {
            let failure = frame::Failure { message: "connection refused".into() };
            frame::write_json(&mut stream, Kind::Error, &failure).unwrap();
        }
        Request::CopyOut { path } if path == "endless" => {
            let modified = Modified { seconds: 0, nanoseconds: 0 };
            let endless =
                Entry { path: Vec::new(), mode: 0o644, modified, what: What::File { size: 1 << 60 } };
            frame::write(&mut stream, Kind::Entry, &endless.encode()).unwrap();
            while frame::write(&mut stream, Kind::Data, &[7; 1000]).is_ok() {}
        }
        Request::CopyOut { path } => {
            let sent = send(Path::new(&in_guest(home, &path)), |kind, payload| {
                frame::write(&mut stream, kind, payload)
            });
            answer(&mut stream, sent.map(|sent| sent.entries).map_err(|error| error.to_string()));
        }
        Request::CopyIn { path, name } => {
            let destination = Destination { path: in_guest(home, &path).into(), name: name.map(Into::into) };
            let mut receiver = Receiver::new(destination, MODES_FROM_HOST);
            while let Ok(Some(frame)) = frame::read(&mut stream) {
                match receiver.take(frame.kind, &frame.payload) {
                    Ok(Step::More) => {}
                    Ok(Step::Done) => return answer(&mut stream, Ok(receiver.entries())),
                    Err(error) => {
                        answer(&mut stream, Err(error.to_string()));
                        while let Ok(Some(_)) = frame::read(&mut stream) {}
                    }
                }
            }
        }
        Request::Look { path } => {
            let _ = banger_copy::answer_look(&mut stream, Path::new(&path));
        }
        Request::Remove { path } => {
            let _ = banger_copy::answer_remove(&mut stream, Path::new(&in_guest(home, &path)));
        }
        // By the real agent's code, for whoever this process is.
        Request::SshAgent { .. } => {
            let uid = rustix::process::geteuid().as_raw().to_string();
            let _ = offer_ssh_agent(stream.into(), Some(&uid), &ImageConfig::default(), &[home]);
        }
        Request::Session(request) => session::serve(stream, request),
        other => panic!("the command asked the agent for {other:?}"),
    }
}

/// A path below root's home, or of banger's own, as this host has it.
fn in_guest(home: &Path, path: &str) -> String {
    let below = path.strip_prefix("/root/").or_else(|| path.strip_prefix("/var/lib/"));
    let is_there = |below: &str| format!("{}/{below}", home.display());
    below.map_or_else(|| path.to_owned(), is_there)
}

fn answer(stream: &mut UnixStream, outcome: Result<u64, String>) {
    match outcome {
        Ok(entries) => {
            let copied = Copied { entries, skipped: 0, first_skipped: None };
            let _ = frame::write_json(stream, Kind::Reply, &copied);
        }
        Err(message) => {
            let _ = frame::write_json(stream, Kind::Error, &frame::Failure { message });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in for a guest's processes")]
fn execute(mut stream: UnixStream, exec: Exec, home: &Path) {
    let (program, arguments) = exec.argv.split_first().map_or(("sh", &[][..]), |(p, a)| (p.as_str(), a));
    let arguments: Vec<String> = arguments.iter().map(|word| in_guest(home, word)).collect();
    let has_no_git = home.join("no-git").exists();
    let lacks_it = program == "git" && has_no_git;
    let bin = home.join(if has_no_git { "bin-without-git" } else { "bin" });
    if has_no_git {
        // To a shell it is as if there was none.
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("git"), "#!/bin/sh\nexit 127\n").unwrap();
        std::fs::set_permissions(bin.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let spawned = Command::new(if lacks_it { "/none/such" } else { program })
        .args(arguments)
        .env("HOME", home)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir(exec.cwd.as_deref().unwrap_or("."))
        .envs(&exec.env)
        .stdin(if exec.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let exit = Exit::NotStarted { code: 127, reason: format!("{program}: {error}") };
            return frame::write_json(&mut stream, Kind::Exit, &exit).unwrap();
        }
    };
    let writer = Arc::new(Mutex::new(stream.try_clone().unwrap()));
    let _ = frame::write(&mut *writer.lock().unwrap(), Kind::Started, &[]);
    let out = pass_on(child.stdout.take().unwrap(), Kind::Stdout, Arc::clone(&writer));
    let err = pass_on(child.stderr.take().unwrap(), Kind::Stderr, Arc::clone(&writer));
    let group = Pid::from_child(&child);
    let mut input = child.stdin.take();
    let credit = Arc::clone(&writer);
    thread::spawn(move || {
        while let Ok(Some(frame)) = frame::read(&mut stream) {
            match frame.kind {
                Kind::Stdin => {
                    let _ = input.as_mut().map(|input| input.write_all(&frame.payload));
                    let taken = u32::try_from(frame.payload.len()).unwrap();
                    let _ =
                        frame::write(&mut *credit.lock().unwrap(), Kind::StdinCredit, &taken.to_le_bytes());
                }
                Kind::StdinEnd => drop(input.take()),
                Kind::Signal => {
                    let signal = Signal::from_named_raw(i32::from(frame.payload[0])).unwrap();
                    let _ = kill_process_group(group, signal);
                }
                Kind::Resize => {}
                other => panic!("the command sent a frame {other:?}"),
            }
        }
        let _ = kill_process_group(group, Signal::HUP);
    });
    out.join().unwrap();
    err.join().unwrap();
    let status = child.wait().unwrap();
    let small = |number: i32| u8::try_from(number).unwrap();
    let exit = status
        .code()
        .map_or_else(|| Exit::Signal(small(status.signal().unwrap())), |code| Exit::Code(small(code)));
    let _ = frame::write_json(&mut *writer.lock().unwrap(), Kind::Exit, &exit);
    let _ = writer.lock().unwrap().shutdown(std::net::Shutdown::Write);
}

fn pass_on(
    mut from: impl Read + Send + 'static,
    kind: Kind,
    to: Arc<Mutex<UnixStream>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = vec![0; frame::MAX_PAYLOAD];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            // To the end, whoever listens: it is at it when nothing is left of the command.
            let _ = frame::write(&mut *to.lock().unwrap(), kind, &chunk[..count]);
        }
    })
}
