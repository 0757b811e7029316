//! The device mapper's ioctls, `linux/dm-ioctl.h`.
//!
//! No library and no udev cookie: a cookie is for whoever waits for a link below `/dev/mapper`, and nobody here does.
#![expect(unsafe_code, reason = "ioctl(2) on /dev/mapper/control")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The names of the structure's text fields hold as many bytes, a final NUL included.
const NAME_LENGTH: usize = 128;
const UUID_LENGTH: usize = 129;
const TYPE_LENGTH: usize = 16;
/// The oldest version of the interface that has everything asked for here; any newer 4.x takes it.
const VERSION: [u32; 3] = [4, 0, 0];

const TABLE_NOT_STATE: u32 = 1 << 4;
const ACTIVE: u32 = 1 << 5;
const TRUNCATED: u32 = 1 << 8;

/// Room for what is told of all devices, or of one's table.
const ANSWER: usize = 64 << 10;

/// A command, `_IOWR(0xfd, n, struct dm_ioctl)`.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Command {
    List = 2,
    Create = 3,
    Remove = 4,
    /// Without its flag: makes a table that was loaded the one in force.
    Resume = 6,
    Status = 7,
    Load = 9,
    Table = 12,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; NAME_LENGTH],
    uuid: [u8; UUID_LENGTH],
    rest: [u8; 7],
}

/// What stands before each target's parameters.
#[repr(C)]
#[derive(Clone, Copy)]
struct Target {
    start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; TYPE_LENGTH],
}

const HEADER: usize = size_of::<Header>();
const TARGET: usize = size_of::<Target>();

/// What the kernel says of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) uuid: String,
    /// As in `st_rdev`.
    pub(crate) device: u64,
    /// Whether it has a table in force.
    pub(crate) active: bool,
}

/// One device of a single target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// In sectors of 512 bytes.
    pub(crate) length: u64,
    pub(crate) kind: String,
    pub(crate) parameters: String,
}

/// `/dev/mapper/control`.
#[derive(Debug)]
pub(crate) struct Control(File);

impl Control {
    pub(crate) fn open() -> io::Result<Self> {
        File::options().read(true).write(true).open("/dev/mapper/control").map(Self)
    }

    /// The names of all devices there are.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        self.ask(Command::List, &header("", "")?, &[]).map(|answer| parse_names(answer.payload()))
    }

    /// What there is of this name, or nothing.
    pub(crate) fn status(&self, name: &str) -> io::Result<Option<Status>> {
        match self.ask(Command::Status, &header(name, "")?, &[]) {
            Ok(answer) => Ok(Some(answer.status())),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a device that has no table yet.
    pub(crate) fn create(&self, name: &str, uuid: &str) -> io::Result<()> {
        self.ask(Command::Create, &header(name, uuid)?, &[]).map(drop)
    }

    /// Gives a device its table, which is not in force yet.
    pub(crate) fn load(&self, name: &str, table: &Table) -> io::Result<()> {
        let payload = encode(table)?;
        let header = Header { target_count: 1, ..header(name, "")? };
        self.ask(Command::Load, &header, &payload).map(drop)
    }

    /// Puts the loaded table in force and says what the device is then.
    pub(crate) fn resume(&self, name: &str) -> io::Result<Status> {
        self.ask(Command::Resume, &header(name, "")?, &[]).map(|answer| answer.status())
    }

    /// The table in force; nothing when there is none, or more than one target.
    pub(crate) fn table(&self, name: &str) -> io::Result<Option<Table>> {
        let header = Header { flags: TABLE_NOT_STATE, ..header(name, "")? };
        let answer = self.ask(Command::Table, &header, &[])?;
        Ok((answer.header.target_count == 1).then(|| parse_table(answer.payload())).flatten())
    }

    /// Removes a device that nobody has open; `EBUSY` otherwise.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.ask(Command::Remove, &header(name, "")?, &[]).map(drop)
    }

    fn ask(&self, command: Command, header: &Header, payload: &[u8]) -> io::Result<Answer> {
        let size = (HEADER + payload.len()).max(ANSWER);
        // Of words, for the alignment.
        let mut memory = vec![0_u64; size.div_ceil(8)];
        let fits = |number: usize| u32::try_from(number).expect("an exchange is far smaller than 4 GiB");
        let header = Header { data_size: fits(size), data_start: fits(HEADER), ..*header };
        let start = memory.as_mut_ptr().cast::<u8>();
        let number = (3 << 30) | (fits(HEADER) << 16) | (0xfd << 8) | command as u32;
        // SAFETY: the memory is larger than both parts together, aligned for the header, and stays where it is; the
        // kernel reads and writes no more of it than `data_size` says.
        let outcome = unsafe {
            start.cast::<Header>().write(header);
            start.add(HEADER).copy_from_nonoverlapping(payload.as_ptr(), payload.len());
            libc::ioctl(self.0.as_raw_fd(), libc::c_ulong::from(number), start)
        };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; every pattern of bits is a value of the header's fields.
        let header = unsafe { start.cast::<Header>().read() };
        if header.flags & TRUNCATED != 0 {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(Answer { header, bytes: memory.iter().flat_map(|word| word.to_ne_bytes()).collect() })
    }
}

struct Answer {
    header: Header,
    bytes: Vec<u8>,
}

impl Answer {
    fn payload(&self) -> &[u8] {
        let start = usize::try_from(self.header.data_start).unwrap_or(HEADER);
        let end = usize::try_from(self.header.data_size).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn status(&self) -> Status {
        let Header { uuid, device, flags, .. } = &self.header;
        Status { uuid: text(uuid), device: *device, active: flags & ACTIVE != 0 }
    }
}

fn header(name: &str, uuid: &str) -> io::Result<Header> {
    let mut header = Header {
        version: VERSION,
        data_size: 0,
        data_start: 0,
        target_count: 0,
        open_count: 0,
        flags: 0,
        event: 0,
        padding: 0,
        device: 0,
        name: [0; NAME_LENGTH],
        uuid: [0; UUID_LENGTH],
        rest: [0; 7],
    };
    put(&mut header.name, name)?;
    put(&mut header.uuid, uuid)?;
    Ok(header)
}

/// Writes a text with room for its final NUL.
fn put(to: &mut [u8], text: &str) -> io::Result<()> {
    if text.len() >= to.len() || text.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    to[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&b| b == 0).next().unwrap_or_default()).into_owned()
}

fn encode(table: &Table) -> io::Result<Vec<u8>> {
    let length = (TARGET + table.parameters.len() + 1).next_multiple_of(8);
    let mut bytes = vec![0; length];
    bytes[8..16].copy_from_slice(&table.length.to_ne_bytes());
    let next = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    bytes[20..24].copy_from_slice(&next.to_ne_bytes());
    put(&mut bytes[24..TARGET], &table.kind)?;
    put(&mut bytes[TARGET..], &table.parameters)?;
    Ok(bytes)
}

fn parse_table(bytes: &[u8]) -> Option<Table> {
    let length = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    Some(Table { length, kind: text(bytes.get(24..TARGET)?), parameters: text(bytes.get(TARGET..)?) })
}

/// A list of `u64 device, u32 distance to the next, name, NUL`; the last has the distance 0. No device at all is one
/// without a name.
fn parse_names(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let (Some(next), Some(name)) = (bytes.get(8..12), bytes.get(12..)) {
        let name = text(name);
        if !name.is_empty() {
            names.push(name);
        }
        let next = next.try_into().map_or(0, u32::from_ne_bytes);
        match usize::try_from(next) {
            Ok(next) if next >= 12 && next < bytes.len() => bytes = &bytes[next..],
            _ => break,
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!((HEADER, TARGET), (312, 40));
    }

    #[test]
    fn a_table_is_read_back_as_it_was_written() {
        let table = Table { length: 2048, kind: "snapshot".to_owned(), parameters: "7:0 7:1 P 8".to_owned() };
        let bytes = encode(&table).unwrap();
        assert!(bytes.len().is_multiple_of(8));
        assert_eq!(parse_table(&bytes), Some(table));
        assert_eq!(parse_table(&bytes[..20]), None);
    }

    #[test]
    fn a_list_of_names_is_followed_to_its_end_and_no_further() {
        let entry = |next: u32, name: &[u8]| {
            let mut bytes = [&[0; 8][..], &next.to_ne_bytes(), name, &[0]].concat();
            bytes.resize(24, 0);
            bytes
        };
        let two = [entry(24, b"first"), entry(0, b"second"), entry(0, b"behind")].concat();
        assert_eq!(parse_names(&two), ["first", "second"]);
        assert_eq!(parse_names(&entry(0, b"")), [""; 0]);
        assert_eq!(parse_names(&entry(3, b"loop")), ["loop"]);
        assert_eq!(parse_names(&[0; 5]), [""; 0]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(header(&"x".repeat(NAME_LENGTH - 1), "").is_ok());
        assert!(header(&"x".repeat(NAME_LENGTH), "").is_err());
        assert!(header("a\0b", "").is_err());
    }
}
