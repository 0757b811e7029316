//! The pass over a layer's headers, through a window that is moved over the file and skips content.

use tar_core::parse::{Limits as ParserLimits, ParseEvent, ParsedEntry, Parser};
use tar_core::{HEADER_SIZE, SparseEntry};

use super::entry::{self, Body, Entry};
use super::pax::Overrides;
use super::{Budget, Layer, LayerError, MalformedTar};

/// How much is read at once; most entries of a real layer are smaller than this.
const READ: usize = 64 << 10;
/// A header with everything that belongs to it is never longer: 1 MiB of records, 10,000 holes.
const MAX_HEADER: usize = 4 << 20;

pub(super) struct Headers<'a> {
    layer: &'a Layer,
    parser: Parser,
    /// Bytes of the file from `start`; those before `position` are used up.
    window: Vec<u8>,
    start: u64,
    position: u64,
}

impl<'a> Headers<'a> {
    pub(super) fn new(layer: &'a Layer) -> Self {
        let mut parser = Parser::new(ParserLimits { max_path_len: None, ..ParserLimits::default() });
        parser.set_ignore_pax_errors(true);
        parser.set_allow_empty_path(true);
        Self { layer, parser, window: Vec::new(), start: 0, position: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or none at the end of the archive.
    pub(super) fn next_entry(
        &mut self,
        index: usize,
        budget: &mut Budget,
    ) -> Result<Option<Entry>, LayerError> {
        let mut wanted = HEADER_SIZE;
        loop {
            self.fill(wanted)?;
            let used = usize::try_from(self.position - self.start).expect("the window is in memory");
            let input = &self.window[used..];
            let malformed = |source| malformed(self.layer, self.position, source);
            match self.parser.parse(input).map_err(|error| malformed(MalformedTar::Header(error)))? {
                ParseEvent::NeedData { min_bytes } => {
                    if input.len() < wanted {
                        // Archives without the two closing blocks are common, and whole.
                        let clean = input.iter().all(|&byte| byte == 0);
                        return if clean { Ok(None) } else { Err(malformed(MalformedTar::Ends)) };
                    }
                    // Doubling, because the parser starts over each time.
                    wanted = min_bytes.max(wanted * 2);
                    if wanted > MAX_HEADER {
                        return Err(malformed(MalformedTar::Endless(MAX_HEADER)));
                    }
                }
                // Defaults for all entries, in practice only a commit id: other readers ignore them too.
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    self.position += consumed as u64;
                    wanted = HEADER_SIZE;
                }
                ParseEvent::End { .. } => return Ok(None),
                ParseEvent::Entry { consumed, entry } => {
                    let header = Header { layer: self.layer, index, start: self.position, consumed };
                    let (entry, end) = header.accept(&entry, None, budget)?;
                    self.position = end;
                    return Ok(Some(entry));
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let header = Header { layer: self.layer, index, start: self.position, consumed };
                    let (entry, end) = header.accept(&entry, Some((sparse_map, real_size)), budget)?;
                    self.position = end;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Makes `wanted` bytes from the position available, or all there are.
    fn fill(&mut self, wanted: usize) -> Result<(), LayerError> {
        let used = usize::try_from(self.position - self.start).unwrap_or(usize::MAX);
        if used >= self.window.len() {
            self.window.clear();
        } else if self.window.len() - used >= wanted {
            return Ok(());
        } else {
            self.window.drain(..used);
        }
        self.start = self.position;
        while self.window.len() < wanted {
            let have = self.window.len();
            self.window.resize(have + READ, 0);
            let read = self
                .layer
                .read_at(&mut self.window[have..], self.start + have as u64)
                .map_err(|source| LayerError::Read { layer: self.layer.name.clone(), source })?;
            self.window.truncate(have + read);
            if read == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Where a parsed header was.
struct Header<'a> {
    layer: &'a Layer,
    index: usize,
    start: u64,
    consumed: usize,
}

impl Header<'_> {
    /// The entry, and where the next header starts.
    fn accept(
        &self,
        parsed: &ParsedEntry<'_>,
        sparse: Option<(Vec<SparseEntry>, u64)>,
        budget: &mut Budget,
    ) -> Result<(Entry, u64), LayerError> {
        let malformed = |source| malformed(self.layer, self.start, source);
        let layer = || self.layer.name.clone();
        let path = || parsed.path_lossy().into_owned();
        let refused = |source| LayerError::Refused { layer: layer(), path: path(), source };

        let overrides = parsed.pax.map_or(Ok(Overrides::default()), Overrides::read).map_err(malformed)?;
        let stored = stored_size(parsed, &overrides, sparse.is_some()).map_err(malformed)?;
        let offset = self.start + self.consumed as u64;
        let end = offset
            .checked_add(stored)
            .filter(|&end| end <= self.layer.len)
            .ok_or_else(|| LayerError::Truncated { layer: layer(), path: path() })?;
        let size = sparse.as_ref().map_or(stored, |(_, size)| *size);
        let body = Body { layer: self.index, offset, stored, sparse };
        let entry = Entry::new(parsed, &overrides, body).map_err(refused)?;
        budget.spend(size, stored, entry.metadata_bytes()).map_err(refused)?;
        Ok((entry, end.next_multiple_of(HEADER_SIZE as u64)))
    }
}

/// Bytes that follow the header in the archive.
fn stored_size(parsed: &ParsedEntry<'_>, overrides: &Overrides, sparse: bool) -> Result<u64, MalformedTar> {
    if !entry::has_body(parsed.entry_type) {
        return Ok(0);
    }
    match overrides.size {
        // The record counts the map of holes and tar-core's size does not: content would be read from the wrong
        // place. GNU tar writes this only for more than 8 GiB between the holes.
        Some(_) if sparse => Err(MalformedTar::Value { key: "size" }),
        Some(size) => Ok(size),
        None => Ok(parsed.size),
    }
}

fn malformed(layer: &Layer, offset: u64, source: MalformedTar) -> LayerError {
    LayerError::Malformed { layer: layer.name.clone(), offset, source }
}
