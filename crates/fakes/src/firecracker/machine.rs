//! The machine that is being described, and what starting it makes of it.

use super::answer::Fault;
use super::body::{BootSource, Drive, Interface, Mac, MachineConfig, Vsock};
use super::open;
use crate::behaviour::{self, Behaviour};
use crate::guest::Guest;
use crate::vmm_process::VmmProcess;
use rustix::fs::OFlags;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MOST_VCPUS: u8 = 32;
/// The kernel's limit (`COMMAND_LINE_SIZE`), its final NUL included.
const COMMAND_LINE_SIZE: usize = 2048;
/// What a Firecracker that was given no command line starts with begins like this.
const DEFAULT_COMMAND_LINE: &str = "reboot=k panic=1 nomodule";
/// Longest name of a link (`IFNAMSIZ`), its final NUL included.
const LINK_NAME_SIZE: usize = 16;
/// Where its devices are, a page of 4 KiB each, and the first one's interrupt.
const FIRST_PAGE: u64 = 0xc0001;
const FIRST_INTERRUPT: u64 = 5;

#[derive(Debug, Default)]
pub(super) struct Machine {
    boot: Option<Boot>,
    drives: Vec<OpenDrive>,
    interfaces: Vec<Interface>,
    vsock: Option<Listening>,
    pub(super) entropy: bool,
    pub(super) console: Option<String>,
}

#[derive(Debug)]
struct Boot {
    command_line: String,
    _kernel: File,
    _initrd: Option<File>,
}

#[derive(Debug)]
struct OpenDrive {
    id: String,
    root: bool,
    read_only: bool,
    path: String,
    _file: File,
}

#[derive(Debug)]
struct Listening {
    path: PathBuf,
    listener: UnixListener,
}

/// What comes of a start.
pub(super) struct Started {
    /// None without a vsock, through which alone anybody could tell.
    pub(super) guest: Option<Arc<Guest>>,
    /// Whether it is over at once.
    pub(super) ends: bool,
}

impl Machine {
    pub(super) fn configure(&mut self, config: MachineConfig) -> Result<(), Fault> {
        if !(1..=MOST_VCPUS).contains(&config.vcpu_count) {
            return Err(Fault::Machine("The number of vCPUs must be greater than 0, less than 32"));
        }
        if config.mem_size_mib == 0 {
            return Err(Fault::Machine(
                "The memory size (MiB) is either 0, or not a multiple of the page size.",
            ));
        }
        Ok(())
    }

    pub(super) fn take_boot_source(&mut self, boot: BootSource) -> Result<(), Fault> {
        let opened = |path: &str, what| open(path, true).map_err(|source| Fault::Boot { what, source });
        let kernel = opened(&boot.kernel_image_path, "The kernel file cannot be opened:")?;
        let what = "The initrd file cannot be opened due to invalid path or invalid permissions.";
        let initrd = boot.initrd_path.map(|path| opened(&path, what)).transpose()?;
        let command_line = boot.boot_args.unwrap_or_else(|| DEFAULT_COMMAND_LINE.to_owned());
        if command_line.len() >= COMMAND_LINE_SIZE {
            return Err(Fault::CommandLine("Inserting string would make command line too long."));
        }
        self.boot = Some(Boot { command_line, _kernel: kernel, _initrd: initrd });
        Ok(())
    }

    /// Replaces the drive of that id.
    pub(super) fn take_drive(&mut self, drive: Drive) -> Result<(), Fault> {
        let creating =
            |what: String| Fault::Drive(format!("Unable to create the virtio block device: {what}"));
        let Drive { drive_id: id, is_root_device: root, is_read_only: read_only, .. } = drive;
        if root && self.drives.iter().any(|other| other.root && other.id != id) {
            return Err(Fault::Drive("A root block device already exists!".to_owned()));
        }
        let path = drive.path_on_host.ok_or_else(|| creating("Invalid block config.".to_owned()))?;
        let file = open(&path, read_only).map_err(|error| {
            creating(format!("Virtio backend error: Error manipulating the backing file: {error} {path}"))
        })?;
        let drive = OpenDrive { id, root, read_only, path, _file: file };
        match self.drives.iter_mut().find(|other| other.id == drive.id) {
            Some(place) => *place = drive,
            None => self.drives.push(drive),
        }
        Ok(())
    }

    /// Replaces the interface of that id. Of the tap, only that there is a link of that name is made sure of: a
    /// VMM without privileges cannot make one.
    pub(super) fn take_interface(&mut self, new: Interface) -> Result<(), Fault> {
        let others = || self.interfaces.iter().filter(|other| other.iface_id != new.iface_id);
        if let Some(Mac(mac)) = &new.guest_mac
            && others().any(|other| other.guest_mac == new.guest_mac)
        {
            return Err(Fault::Network(format!("The MAC address is already in use: {mac}")));
        }
        let tap = &new.host_dev_name;
        if tap.len() >= LINK_NAME_SIZE {
            let what = "Could not create the network device: Open tap device failed: Invalid interface name";
            return Err(Fault::Network(what.to_owned()));
        }
        let failed = |errno: rustix::io::Errno| Fault::Tap { tap: tap.clone(), source: errno.into() };
        if others().any(|other| other.host_dev_name == *tap) {
            return Err(failed(rustix::io::Errno::BUSY));
        }
        if !is_link(tap) {
            return Err(failed(rustix::io::Errno::PERM));
        }
        self.interfaces.retain(|other| other.iface_id != new.iface_id);
        self.interfaces.push(new);
        Ok(())
    }

    /// Replaces the one there was, whose socket goes first.
    pub(super) fn take_vsock(&mut self, vsock: &Vsock) -> Result<(), Fault> {
        let failed = |error| {
            Fault::Vsock(io::Error::other(format!("Error binding to the host-side Unix socket: {error}")))
        };
        if let Some(former) = self.vsock.take() {
            std::fs::remove_file(former.path).map_err(failed)?;
        }
        let path = PathBuf::from(&vsock.uds_path);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        self.vsock = Some(Listening { path, listener });
        Ok(())
    }

    /// Starts what was described. After a fault it can be tried again.
    pub(super) fn start(&mut self, guest_end: &UnixStream) -> Result<Started, Fault> {
        let Some(boot) = &self.boot else {
            return Err(Fault::Start("Cannot start microvm without kernel configuration.".to_owned()));
        };
        let behaviour = self.behaviour().map_err(|error| Fault::Start(error.to_string()))?;
        if behaviour.vmm == behaviour::Vmm::Refuses {
            return Err(Fault::Start("Kvm error: made to fail".to_owned()));
        }
        let command_line = self.whole_command_line(&boot.command_line);
        if command_line.len() >= COMMAND_LINE_SIZE {
            return Err(Fault::Start("Invalid kernel command line: too long".to_owned()));
        }
        let cannot = |error: io::Error| Fault::Start(format!("Failed to create device manager: {error}"));
        let line = format!("fake guest: {command_line}\n");
        match &self.console {
            Some(path) => open_output(Path::new(path)).and_then(|mut file| file.write_all(line.as_bytes())),
            None => io::stdout().write_all(line.as_bytes()),
        }
        .map_err(cannot)?;
        let ends = behaviour.vmm == behaviour::Vmm::Ends;
        let guest = match self.vsock.take() {
            Some(Listening { path, listener }) => {
                let machine = guest_end.try_clone().map_err(cannot)?;
                let vmm = VmmProcess::own().map_err(cannot)?;
                Some(Guest::start(listener, path, behaviour, machine, vmm))
            }
            None => None,
        };
        Ok(Started { guest, ends })
    }

    fn behaviour(&self) -> Result<Behaviour, behaviour::BehaviourError> {
        let work = self.drives.iter().find(|drive| drive.id == "work");
        work.map_or(Ok(Behaviour::default()), |drive| Behaviour::read(Path::new(&drive.path)))
    }

    /// The kernel command line with what Firecracker adds: a word for PCI, and one for each device, which kernels
    /// that find devices in ACPI tables leave alone.
    fn whole_command_line(&self, given: &str) -> String {
        let mut line = format!("{given} pci=off");
        if let Some(root) = self.drives.iter().find(|drive| drive.root) {
            line += if root.read_only { " root=/dev/vda ro" } else { " root=/dev/vda rw" };
        }
        let devices = self.drives.len()
            + self.interfaces.len()
            + usize::from(self.vsock.is_some())
            + usize::from(self.entropy);
        for (interrupt, page) in (FIRST_INTERRUPT..).zip(FIRST_PAGE..).take(devices) {
            let _ = write!(line, " virtio_mmio.device=4K@{page:#x}000:{interrupt}");
        }
        line
    }
}

/// A file to write to as Firecracker opens them: made when it is not there, else written over from its beginning.
pub(super) fn open_output(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)
}

fn is_link(name: &str) -> bool {
    rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)
        .and_then(|socket| rustix::net::netdevice::name_to_index(&socket, name))
        .is_ok()
}
