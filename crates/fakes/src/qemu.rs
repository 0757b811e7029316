//! QEMU's part: it looks at its command line and its files, and holds the machine until it is killed.
//!
//! An option it does not know is an error, as it is one of QEMU, so that a changed command line is noticed here
//! first. Of a machine there is only the connection to the vsock backend.

use crate::behaviour::{Behaviour, BehaviourError, Vmm};
use crate::guest::Order;
use crate::vmm_process::VmmProcess;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Its `ShutdownCause` (qapi/run-state.json).
fn cause(order: Order) -> &'static str {
    match order {
        Order::PowerOff => "guest-shutdown",
        Order::Reboot | Order::Panic => "guest-reset",
    }
}

const FLAGS: [&str; 3] = ["-nodefaults", "-no-user-config", "-no-reboot"];
const OPTIONS: [&str; 19] = [
    "-accel",
    "-add-fd",
    "-append",
    "-blockdev",
    "-chardev",
    "-cpu",
    "-device",
    "-display",
    "-initrd",
    "-kernel",
    "-m",
    "-machine",
    "-mon",
    "-monitor",
    "-netdev",
    "-object",
    "-sandbox",
    "-serial",
    "-smp",
];

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{0}: invalid option")]
    UnknownOption(String),
    #[error("{0}: requires an argument")]
    NoValue(String),
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("could not open '{}'", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the console cannot be written")]
    Console(#[source] io::Error),
    #[error("failed to connect to '{}'", path.display())]
    Backend { path: PathBuf, source: io::Error },
    #[error("the guest cannot be told what to do")]
    Behaviour(#[source] BehaviourError),
    #[error("could not configure the accelerator")]
    Refused,
}

/// What of a command line matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    append: Option<String>,
    console: Option<PathBuf>,
    /// Without the endings of its two files.
    events: Option<PathBuf>,
    vsock: Option<PathBuf>,
    tap: Option<String>,
    /// Numbers of descriptors that came for disks.
    given: BTreeSet<String>,
    disks: Vec<DiskFile>,
}

#[derive(Debug, PartialEq, Eq)]
struct DiskFile {
    name: String,
    read_only: bool,
    file: PathBuf,
}

impl CommandLine {
    /// # Errors
    /// When it holds what `bangerd-root` does not write.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, MachineError> {
        let mut line = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if FLAGS.contains(&word.as_str()) {
                continue;
            }
            if !OPTIONS.contains(&word.as_str()) {
                return Err(MachineError::UnknownOption(word));
            }
            let value = words.next().ok_or_else(|| MachineError::NoValue(word.clone()))?;
            line.take(&word, value);
        }
        Ok(line)
    }

    fn take(&mut self, option: &str, value: String) {
        match option {
            "-kernel" => self.kernel = Some(value.into()),
            "-initrd" => self.initrd = Some(value.into()),
            "-append" => self.append = Some(value),
            "-netdev" => self.tap = key(&value, "fd").map(str::to_owned),
            "-add-fd" => self.given.extend(key(&value, "fd").map(str::to_owned)),
            "-chardev" if value.starts_with("file,") => self.console = key(&value, "path").map(Into::into),
            "-chardev" if value.starts_with("pipe,") => self.events = key(&value, "path").map(Into::into),
            "-chardev" => self.vsock = key(&value, "path").map(Into::into),
            "-blockdev" => self.disks.extend(disk(&value)),
            _ => {}
        }
    }

    fn work(&self) -> Option<&Path> {
        self.disks.iter().find(|disk| disk.name == "work").map(|disk| disk.file.as_path())
    }

    /// Opens every file of the machine, the way QEMU would.
    fn open(&self) -> Result<Vec<File>, MachineError> {
        let needed = |path: &Option<PathBuf>, what| path.clone().ok_or(MachineError::Missing(what));
        let mut files = vec![
            open(&needed(&self.kernel, "kernel")?, true)?,
            open(&needed(&self.initrd, "initrd")?, true)?,
        ];
        let tap = self.tap.as_ref().ok_or(MachineError::Missing("tap"))?;
        let given = self.disks.iter().filter(|disk| disk.file.starts_with("/dev/fdset"));
        for number in given.filter_map(|disk| disk.file.file_name()?.to_str()) {
            self.given.get(number).ok_or(MachineError::Missing("descriptor of a disk"))?;
        }
        for number in self.given.iter().chain([tap]) {
            let path = PathBuf::from("/proc/self/fd").join(number);
            std::fs::metadata(&path).map_err(|source| MachineError::Open { path, source })?;
        }
        for disk in self.disks.iter().filter(|disk| disk.file.is_relative()) {
            files.push(open(&disk.file, disk.read_only)?);
        }
        Ok(files)
    }
}

fn open(path: &Path, read_only: bool) -> Result<File, MachineError> {
    let opened = File::options().read(true).write(!read_only).open(path);
    opened.map_err(|source| MachineError::Open { path: path.to_owned(), source })
}

/// The value of one `key=value` in a comma-separated list.
fn key<'a>(list: &'a str, key: &str) -> Option<&'a str> {
    list.split(',').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn disk(value: &str) -> Option<DiskFile> {
    let name = key(value, "node-name")?.to_owned();
    Some(DiskFile {
        name,
        read_only: key(value, "read-only") == Some("on"),
        file: key(value, "file.filename")?.into(),
    })
}

/// Makes the machine and returns when its guest has ended it.
///
/// # Errors
/// When there is no machine.
pub fn run(line: &CommandLine) -> Result<(), MachineError> {
    let _held = line.open()?;
    let work = line.work().ok_or(MachineError::Missing("work disk"))?;
    let behaviour = Behaviour::read(work).map_err(MachineError::Behaviour)?;
    if behaviour.vmm == Vmm::Refuses {
        return Err(MachineError::Refused);
    }
    let console = line.console.as_ref().ok_or(MachineError::Missing("console"))?;
    let mut console =
        File::options().append(true).create(true).open(console).map_err(MachineError::Console)?;
    let append = line.append.as_deref().ok_or(MachineError::Missing("kernel command line"))?;
    console.write_all(format!("fake guest: {append}\n").as_bytes()).map_err(MachineError::Console)?;

    let events = line.events.as_ref().ok_or(MachineError::Missing("file for events"))?;
    let path = line.vsock.as_ref().ok_or(MachineError::Missing("vsock backend"))?;
    let connected = UnixStream::connect(path);
    let shown = |backend: UnixStream| VmmProcess::own()?.show(&backend).map(|()| backend);
    let backend = connected.and_then(shown);
    let backend = backend.map_err(|source| MachineError::Backend { path: path.clone(), source })?;
    if behaviour.vmm == Vmm::Ends {
        return Ok(());
    }
    let order = hold(backend);
    console.write_all(order.last_words().as_bytes()).map_err(MachineError::Console)?;
    tell(events, order);
    Ok(())
}

/// Tells of the machine's end, if it may: QMP is silent before the client has agreed on capabilities.
fn tell(events: &Path, order: Order) {
    let greeting = std::fs::read_to_string(events.with_extension("in")).unwrap_or_default();
    if greeting.contains("qmp_capabilities") {
        let event =
            format!(r#"{{"event": "SHUTDOWN", "data": {{"guest": true, "reason": "{}"}}}}"#, cause(order));
        let _ = File::options()
            .write(true)
            .open(events.with_extension("out"))
            .map(|mut file| writeln!(file, "{event}"));
    }
}

/// A VMM that loses its backend goes on without vsock, as QEMU does.
fn hold(mut backend: UnixStream) -> Order {
    let mut byte = [0];
    loop {
        match backend.read(&mut byte) {
            Ok(1) => {
                if let Some(order) = Order::from_byte(byte[0]) {
                    return order;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned)
    }

    #[test]
    fn disks_console_and_vsock_are_found_in_the_helper_s_command_line() {
        let line = CommandLine::parse(words(
            "-nodefaults -m 512M -kernel /proc/self/fd/3 -initrd /proc/self/fd/4 \
             -chardev file,id=console,path=console.log,append=on -netdev tap,id=network,fd=5 \
             -add-fd fd=6,set=6,opaque=modules -chardev socket,id=vsock,path=vhost.sock -chardev pipe,id=events,path=vmm-events \
             -blockdev driver=raw,node-name=work,read-only=off,discard=unmap,file.driver=file,file.filename=work.img",
        ))
        .unwrap();
        assert_eq!(line.work(), Some(Path::new("work.img")));
        assert_eq!(line.console.as_deref(), Some(Path::new("console.log")));
        assert_eq!(line.vsock.as_deref(), Some(Path::new("vhost.sock")));
        assert_eq!(line.events.as_deref(), Some(Path::new("vmm-events")));
        assert_eq!(line.tap.as_deref(), Some("5"));
        assert!(line.given.contains("6") && !line.disks[0].read_only);
    }

    #[test]
    fn what_qemu_would_not_understand_is_refused() {
        assert!(matches!(CommandLine::parse(words("-sandbx on")), Err(MachineError::UnknownOption(_))));
        assert!(matches!(CommandLine::parse(words("-nodefaults -m")), Err(MachineError::NoValue(_))));
    }
}
