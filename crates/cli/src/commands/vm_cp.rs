use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome, READER_GONE};
use crate::guest::{CopyError, copy_file_in, copy_in, copy_out, pass_out, said};
use crate::printer;
use crate::signals::{Signals, asks_to_end, exit_code};
use banger_copy::{Destination, name_of};
use banger_protocol::daemon_api::vm::Connect;
use banger_protocol::guest_api::Copied;
use banger_protocol::names::VmRef;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Copy files between this host and a running VM
///
///     banger vm cp ./src dev:/root/src     copy in; into /root/src if that exists
///     banger vm cp dev:/var/log ./logs     copy out
///     banger vm cp ./src/. dev:/srv        copy the contents of ./src, not ./src itself
///     banger vm cp dev:/etc/hosts -        copy a file to standard output (or from it)
///
/// Directories are copied recursively. Modes, times, symlinks, and holes in sparse
/// files are kept. Copied files belong to root in the VM and to you on this host. Relative
/// paths in the VM start at /root. If a local name contains a colon, put a slash
/// before it: `./a:b`. After `banger ssh-config --install`, `rsync` works as well.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Source: a local path, VM:PATH, or `-` for standard input
    #[arg(value_name = "SRC")]
    source: OsString,
    /// Destination: a local path, VM:PATH, or `-` for standard output
    #[arg(value_name = "DST")]
    destination: OsString,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Here(PathBuf),
    There {
        vm: String,
        path: String,
    },
    /// What this command reads or writes itself.
    Stream,
}

impl End {
    /// `VM:PATH`, unless there is a slash before the colon.
    fn parse(text: &OsStr) -> Result<Self, Failure> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        match bytes.iter().position(|byte| b":/".contains(byte)) {
            Some(at) if at > 0 && bytes[at] == b':' => {
                let parts = text.to_str().and_then(|text| text.split_once(':'));
                let (vm, path) = parts.ok_or_else(|| unnameable(text))?;
                let path = if path.is_empty() { "." } else { path };
                Ok(Self::There { vm: vm.to_owned(), path: path.to_owned() })
            }
            _ => Ok(Self::Here(text.into())),
        }
    }
}

fn unnameable(name: &OsStr) -> Failure {
    Failure::usage(format!("{name:?} is not UTF-8 and cannot be used as a name in the VM"))
        .with_hint("copy the directory that contains it")
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let ends = (End::parse(&self.source)?, End::parse(&self.destination)?);
        let signals = Signals::take().map_err(|error| Failure::of(&error))?;
        let not_copied = |failure: Failure, hint: String| match failure.report {
            None => failure,
            Some(_) => failure
                .reason_for(format!(
                    "{} was not copied to {}",
                    self.source.display(),
                    self.destination.display()
                ))
                .with_hint(hint),
        };
        let copied = match ends {
            (End::There { vm, path }, End::Here(to)) => {
                let name = name_of(Path::new(&path)).map(Into::into);
                let hint = format!("`banger vm exec {vm} -- ls -la {path}` shows what the VM has");
                let agent = connect(vm)?;
                let asked = |agent: &mut UnixStream| copy_out(agent, path, Destination { path: to, name });
                with_agent(agent, &signals, asked).map_err(|failure| not_copied(failure, hint))
            }
            (End::Here(from), End::There { vm, path }) => {
                let name = name_of(&from);
                let name = name.map(|name| name.to_str().ok_or_else(|| unnameable(name))).transpose()?;
                let name = name.map(str::to_owned);
                let hint = format!(
                    "`{}` must be readable on this host, and {vm}:{path} writable in the VM",
                    from.display()
                );
                let agent = connect(vm)?;
                let asked = |agent: &mut UnixStream| copy_in(agent, &from, path, name);
                with_agent(agent, &signals, asked).map_err(|failure| not_copied(failure, hint))
            }
            (End::Here(_), End::Here(_)) => {
                return Err(Failure::usage("neither path is in a VM")
                    .with_hint("write one of them as VM:PATH: `banger vm cp ./file dev:/root/`"));
            }
            (End::There { vm, path }, End::Stream) => {
                let hint = format!("`banger vm exec {vm} -- ls -la {path}` shows what the VM has");
                let for_a_folder = format!("use tar for a directory: `banger vm exec {vm} -- tar c {path}`");
                let mut agent = connect(vm)?;
                // Nothing is arriving that would have to be removed, so signals do what they always do: whoever does not
                // read keeps nobody from ending this.
                match pass_out(&mut agent, path, onto_stdout) {
                    Err(CopyError::Pass(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                        Err(Failure::quiet(READER_GONE))
                    }
                    Err(error @ CopyError::Pass(_)) => Err(Failure::of(&error)),
                    Err(error @ CopyError::NoFile) => Err(Failure::of(&error).with_hint(for_a_folder)),
                    outcome => outcome.map_err(|error| not_copied(Failure::of(&error), hint)),
                }
            }
            (End::Stream, End::There { vm, path }) => {
                let hint = format!("the destination must be a file: `banger vm cp - {vm}:/root/name`");
                let read = read_stdin()?;
                let agent = connect(vm)?;
                let asked = |agent: &mut UnixStream| copy_file_in(agent, &read, "standard input", path);
                with_agent(agent, &signals, asked).map_err(|failure| not_copied(failure, hint))
            }
            (End::Stream, _) | (_, End::Stream) => {
                return Err(Failure::usage("neither path is in a VM")
                    .with_hint("write one of them as VM:PATH: `banger vm cp - dev:/root/name`"));
            }
            (End::There { .. }, End::There { .. }) => {
                return Err(Failure::usage("both paths are in VMs")
                    .with_hint("copy it to this host first, then into the other VM"));
            }
        }?;
        if let Some(first) = copied.first_skipped {
            let count = copied.skipped;
            printer::warning(format_args!(
                "{count} not copied: not a file, directory, or symlink; the first is {}",
                said(&first)
            ));
        }
        Ok(0)
    }
}

/// All of standard input, because how long it is shows at its end: a file that has no name, and goes with its descriptor.
fn read_stdin() -> Result<File, Failure> {
    let mut file =
        tempfile::tempfile().map_err(|error| Failure::of(&error).reason_for("no temporary file was made"))?;
    let read = file
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| io::copy(&mut io::stdin().lock(), &mut file));
    read.map_err(|error| Failure::of(&error).reason_for("standard input was not read to its end"))?;
    Ok(file)
}

fn onto_stdout(piece: &[u8]) -> Result<(), CopyError> {
    printer::pass_through(rustix::stdio::stdout(), piece).map_err(CopyError::Pass)
}

fn connect(vm: String) -> Result<UnixStream, Failure> {
    let (_, agent) = Daemon::connect()?.call_receiving(&Connect { vm: VmRef(vm) })?;
    Ok(UnixStream::from(agent))
}

/// Copies over a connection to the VM's agent. A signal that asks to end breaks it off, so that what was arriving is
/// removed.
fn with_agent(
    mut agent: UnixStream,
    signals: &Signals,
    copy: impl FnOnce(&mut UnixStream) -> Result<Copied, CopyError>,
) -> Result<Copied, Failure> {
    let caught = Arc::new(AtomicI32::new(0));
    let connection = agent.try_clone().map_err(|error| Failure::of(&error))?;
    let seen = Arc::clone(&caught);
    let _directed = signals.direct(move |signal| {
        if asks_to_end(signal) {
            seen.store(signal, Ordering::SeqCst);
            let _ = connection.shutdown(Shutdown::Both);
        }
    });
    let outcome = copy(&mut agent);
    match caught.load(Ordering::SeqCst) {
        0 => outcome.map_err(|error| Failure::of(&error)),
        signal => Err(Failure::quiet(exit_code(signal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_behind_a_slash_is_part_of_a_name() {
        let there = |vm: &str, path: &str| End::There { vm: vm.to_owned(), path: path.to_owned() };
        let parse = |text: &[u8]| End::parse(OsStr::from_bytes(text));
        assert_eq!(parse(b"dev:/a:b").unwrap(), there("dev", "/a:b"));
        assert_eq!(parse(b"dev:").unwrap(), there("dev", "."));
        assert_eq!(parse(b"-").unwrap(), End::Stream);
        assert_eq!(parse(b"./-").unwrap(), End::Here("./-".into()));
        for here in [&b"./a:b"[..], b"/a:b", b":a", b"a", b"a/b:c", b"\xff", b"a/\xff:"] {
            assert_eq!(parse(here).unwrap(), End::Here(OsStr::from_bytes(here).into()));
        }
        for neither in [&b"dev:/\xff"[..], b"\xff:/a"] {
            assert_eq!(parse(neither).unwrap_err().code, crate::failure::USAGE);
        }
    }
}
