//! Archives in the one format the kernel unpacks as an initrd: "newc" cpio.
//!
//! The kernel takes several archives one after the other (Documentation/driver-api/early-userspace/
//! buffer-format.rst), each on a four-byte boundary; ours are padded to 512 so that any may follow. Numbers and
//! times are constants: the same files give the same bytes.

const BLOCK: usize = 512;
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;

#[derive(Debug, Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.entry(path, DIRECTORY | mode, (0, 0), &[]);
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    pub(super) fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, CHAR_DEVICE | mode, (major, minor), &[]);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.write(TRAILER, 0, 0, 1, (0, 0), &[]);
        self.pad_to(BLOCK);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        self.write(path.trim_start_matches('/'), self.inode, mode, links, device, content);
    }

    fn write(&mut self, path: &str, inode: u32, mode: u32, links: u32, device: (u32, u32), content: &[u8]) {
        let size =
            u32::try_from(content.len()).expect("an initrd holds programs and modules, all below 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("paths here are constants and module names");
        let (uid, gid, mtime, check) = (0, 0, 0, 0);
        let fields = [inode, mode, uid, gid, links, mtime, size, 0, 0, device.0, device.1, name_size, check];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad_to(4);
        self.bytes.extend_from_slice(content);
        self.pad_to(4);
    }

    fn pad_to(&mut self, multiple: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(multiple), 0);
    }
}
