//! The last bytes that a command wrote, in a file of a fixed size.
//!
//! ```text
//!   file   …tttt│oooooooooooooooooooooooooooooooooo│nnnn…      a place is a count of bytes from the beginning of
//!           head┘└oldest                  recent┘              time; it lies in the file modulo its size
//! ```
//!
//! A record is a byte that tells the output, the length (u32, little endian), and the bytes. Room for a new one is made
//! by giving up the oldest ones; how many of the command's own bytes went with them is known at every place, so a reader
//! who was overtaken learns how much it missed. Writing waits for no reader.
//!
//! The file has no name: nobody else opens it, and it goes with the agent, however that ends. A disk that does not do
//! its part costs output and nothing else.

use banger_protocol::guest_api::frame::Kind;
use banger_protocol::guest_api::session::SHOWN_AT_ATTACH;
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const HEADER: u64 = 5;

/// Longest payload of a record: what is given up at once, and by how much the last few kilobytes may be fewer.
const MOST_RECORD: usize = 2 * 1024;

#[derive(Debug)]
pub(super) struct Ring {
    file: File,
    size: u64,
    head: Mark,
    oldest: Mark,
    /// Where the last few kilobytes begin.
    recent: Mark,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    place: u64,
    /// How many bytes the command had written there.
    written: u64,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// `Stdout` or `Stderr`, and what was written to it.
    Output(Kind, Vec<u8>),
    /// So many bytes were given up before they were read.
    Dropped(u64),
}

impl Mark {
    pub(super) fn is_at_or_behind(self, other: Self) -> bool {
        self.place >= other.place
    }
}

impl Ring {
    /// A file of this size in the first of `folders` that takes one, in memory if none does.
    pub(super) fn make(folders: &[PathBuf], size: u64) -> io::Result<Self> {
        let on_disk = folders.iter().find_map(|folder| {
            let _ = std::fs::create_dir_all(folder);
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).ok()?;
            // Now rather than in the middle: a full disk is often the doing of the command itself.
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size).ok()?;
            Some(file)
        });
        let file = match on_disk {
            Some(file) => file,
            None => rustix::fs::memfd_create(c"banger-session", MemfdFlags::CLOEXEC)?,
        };
        let start = Mark::default();
        Ok(Self { file: file.into(), size, head: start, oldest: start, recent: start })
    }

    /// Keeps `bytes` as the latest that were written to `output`.
    pub(super) fn append(&mut self, output: Kind, bytes: &[u8]) {
        for bytes in bytes.chunks(MOST_RECORD) {
            let after = self.head.after(bytes.len());
            if self.put(output, bytes, after).is_err() {
                // What cannot be trusted to be there was dropped.
                self.head = after;
                self.oldest = after;
                self.recent = after;
            }
        }
    }

    fn put(&mut self, output: Kind, bytes: &[u8], after: Mark) -> io::Result<()> {
        while after.place - self.oldest.place > self.size {
            self.oldest = self.behind(self.oldest)?;
        }
        let mut record = Vec::with_capacity(bytes.len() + 5);
        record.push(output as u8);
        record.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(bytes);
        let (first, second) = record.split_at(self.until_the_edge(self.head.place, record.len()));
        self.file.write_all_at(first, self.head.place % self.size)?;
        self.file.write_all_at(second, 0)?;
        self.head = after;
        while self.recent.place < self.oldest.place
            || self.head.written - self.recent.written > SHOWN_AT_ATTACH
        {
            self.recent = self.behind(self.recent.max(self.oldest))?;
        }
        Ok(())
    }

    /// The next piece for a reader who has come as far as `mark`, which moves on.
    pub(super) fn next(&self, mark: &mut Mark) -> Option<Piece> {
        if mark.place < self.oldest.place {
            let missed = self.oldest.written - mark.written;
            *mark = self.oldest;
            return Some(Piece::Dropped(missed));
        }
        if mark.place == self.head.place {
            return None;
        }
        match self.read(*mark) {
            Ok((kind, bytes)) => {
                *mark = mark.after(bytes.len());
                Some(Piece::Output(kind, bytes))
            }
            Err(_) => {
                let missed = self.head.written - mark.written;
                *mark = self.head;
                Some(Piece::Dropped(missed))
            }
        }
    }

    /// Where the last few kilobytes begin, and whether a line does there, as far as is known.
    pub(super) fn recent(&self) -> (Mark, bool) {
        let place = self.recent.place;
        if place == 0 {
            return (self.recent, true);
        }
        let mut before = [0];
        let is_kept = place > self.oldest.place;
        let begins_a_line = is_kept && self.read_at(&mut before, place - 1).is_ok() && before == *b"\n";
        (self.recent, begins_a_line)
    }

    /// Where the next byte will be.
    pub(super) fn head(&self) -> Mark {
        self.head
    }

    pub(super) fn written(&self) -> u64 {
        self.head.written
    }

    pub(super) fn dropped(&self) -> u64 {
        self.oldest.written
    }

    fn read(&self, mark: Mark) -> io::Result<(Kind, Vec<u8>)> {
        let (kind, length) = self.header(mark)?;
        let mut bytes = vec![0; length];
        self.read_at(&mut bytes, mark.place + HEADER)?;
        Ok((kind, bytes))
    }

    fn behind(&self, mark: Mark) -> io::Result<Mark> {
        let (_, length) = self.header(mark)?;
        Ok(mark.after(length))
    }

    fn header(&self, mark: Mark) -> io::Result<(Kind, usize)> {
        let mut header = [0; 5];
        self.read_at(&mut header, mark.place)?;
        let [kind, a, b, c, d] = header;
        let kind = [Kind::Stdout, Kind::Stderr].into_iter().find(|&output| output as u8 == kind);
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        // The file is the agent's own, but a disk may give back something else.
        match kind {
            Some(kind) if length <= MOST_RECORD && mark.after(length).place <= self.head.place => {
                Ok((kind, length))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn read_at(&self, bytes: &mut [u8], place: u64) -> io::Result<()> {
        let (first, second) = bytes.split_at_mut(self.until_the_edge(place, bytes.len()));
        self.file.read_exact_at(first, place % self.size)?;
        self.file.read_exact_at(second, 0)
    }

    /// How many of `length` bytes lie before the end of the file.
    fn until_the_edge(&self, place: u64, length: usize) -> usize {
        usize::try_from(self.size - place % self.size).map_or(length, |room| room.min(length))
    }
}

impl Mark {
    /// The mark behind a record with so many bytes.
    fn after(self, length: usize) -> Self {
        let length = length as u64;
        Self { place: self.place + HEADER + length, written: self.written + length }
    }

    fn max(self, other: Self) -> Self {
        if self.place < other.place { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(size: u64) -> Ring {
        Ring::make(&[], size).unwrap()
    }

    fn read(ring: &Ring, mut mark: Mark) -> (u64, Vec<(Kind, Vec<u8>)>) {
        let (mut dropped, mut pieces) = (0, Vec::new());
        while let Some(piece) = ring.next(&mut mark) {
            match piece {
                Piece::Dropped(count) => dropped += count,
                Piece::Output(kind, bytes) => pieces.push((kind, bytes)),
            }
        }
        (dropped, pieces)
    }

    #[test]
    fn the_latest_output_is_kept_and_the_rest_is_counted() {
        let mut ring = ring(32);
        ring.append(Kind::Stdout, b"one");
        ring.append(Kind::Stderr, b"two!");
        let kept = vec![(Kind::Stdout, b"one".to_vec()), (Kind::Stderr, b"two!".to_vec())];
        assert_eq!(read(&ring, Mark::default()), (0, kept));
        ring.append(Kind::Stdout, b"three, much longer");
        assert_eq!((ring.written(), ring.dropped()), (25, 3));
        let kept = vec![(Kind::Stderr, b"two!".to_vec()), (Kind::Stdout, b"three, much longer".to_vec())];
        assert_eq!(read(&ring, Mark::default()), (3, kept));
    }

    #[test]
    fn the_file_is_made_in_the_first_folder_that_takes_it_and_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::make(&["/proc/nowhere".into(), folder.path().into()], 4096).unwrap();
        ring.append(Kind::Stdout, b"x");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(ring.file.metadata().unwrap().len(), 4096, "its room was not taken beforehand");
    }

    #[test]
    fn the_last_few_kilobytes_are_found_without_reading_the_rest() {
        let mut ring = ring(1 << 20);
        assert_eq!(ring.recent(), (Mark::default(), true));
        let shown = |ring: &Ring| -> u64 {
            read(ring, ring.recent().0).1.iter().map(|(_, bytes)| bytes.len() as u64).sum()
        };
        for _ in 0..1000 {
            ring.append(Kind::Stdout, &[b'x'; 100]);
        }
        assert_eq!((shown(&ring), ring.recent().1), (SHOWN_AT_ATTACH / 100 * 100, false));
        for _ in 0..1000 {
            ring.append(Kind::Stdout, format!("{}\n", "x".repeat(99)).as_bytes());
        }
        assert_eq!((shown(&ring), ring.recent().1), (SHOWN_AT_ATTACH / 100 * 100, true));
        // However much comes at once.
        ring.append(Kind::Stdout, &[b'y'; 100_000]);
        ring.append(Kind::Stdout, b"end\n");
        assert!((SHOWN_AT_ATTACH - MOST_RECORD as u64..=SHOWN_AT_ATTACH).contains(&shown(&ring)));
    }

    #[test]
    fn a_file_that_gives_nothing_back_costs_output_only() {
        let mut ring = ring(4096);
        ring.append(Kind::Stdout, b"lost");
        ring.file.set_len(0).unwrap();
        assert_eq!(read(&ring, Mark::default()), (4, Vec::new()));
        ring.append(Kind::Stdout, &[b'x'; 4000]);
        ring.append(Kind::Stdout, &[b'y'; 4000]);
        assert_eq!(ring.written(), 8004);
        let (dropped, pieces) = read(&ring, Mark::default());
        let kept: u64 = pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(dropped + kept, 8004);
    }

    proptest! {
        /// What a reader gets is what was written less what it is told it missed, wherever it stands.
        #[test]
        fn nothing_is_lost_untold_or_told_twice(
            size in 64_u64..2000,
            writes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..50)), 0..200),
            reads in prop::collection::vec(any::<bool>(), 200),
        ) {
            let mut ring = ring(size);
            let mut all = Vec::new();
            let (mut mark, mut at) = (Mark::default(), 0_usize);
            for ((is_error, bytes), now) in writes.iter().zip(reads) {
                ring.append(if *is_error { Kind::Stderr } else { Kind::Stdout }, bytes);
                all.extend_from_slice(bytes);
                while let Some(piece) = now.then(|| ring.next(&mut mark)).flatten() {
                    match piece {
                        Piece::Dropped(count) => at += usize::try_from(count).unwrap(),
                        Piece::Output(_, bytes) => {
                            prop_assert_eq!(&all[at..at + bytes.len()], &bytes[..]);
                            at += bytes.len();
                        }
                    }
                }
                if now {
                    prop_assert_eq!(at, all.len());
                }
            }
            let (dropped, pieces) = read(&ring, Mark::default());
            let kept: Vec<u8> = pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(dropped, ring.dropped());
            prop_assert_eq!(&all[usize::try_from(dropped).unwrap()..], &kept[..]);
            // No more is given up than has to be: the next oldest record is at most 55 bytes.
            prop_assert!(dropped == 0 || kept.len() as u64 + 55 * 12 >= size / 2);
        }
    }
}
