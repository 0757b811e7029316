//! File content on its way from a layer into the image.
//!
//! An archive puts holes at any byte, a file system at whole blocks. So a region of data grows to block borders,
//! and what it gained is filled with zeros.

use std::io::{self, Read};

use mkext4::SparseSeg;
use sha2::Digest as _;

use super::BLOCK;
use crate::layer::Layer;
use crate::tree::{Content, Source};
use crate::{Sha256, Stage, Watch};

/// How one file is declared, and the bytes that fill it.
pub(super) struct Plan<'a> {
    /// None: no holes.
    holes: Option<Vec<SparseSeg>>,
    pieces: Vec<Piece<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Zeros(u64),
    Layer { layer: usize, offset: u64, len: u64 },
    Bytes(&'a [u8]),
}

impl Piece<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Zeros(len) | Self::Layer { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        let (layer, segments) = match content.source() {
            Source::Bytes(bytes) => return Self { holes: None, pieces: vec![Piece::Bytes(bytes)] },
            Source::Layer { layer, segments } => (*layer, segments),
        };
        let size = content.size();
        let piece = |offset, len| Piece::Layer { layer, offset, len };
        if let [only] = &**segments
            && only.len == size
        {
            return Self { holes: None, pieces: vec![piece(only.offset, only.len)] };
        }
        let mut map = Map::default();
        for segment in segments {
            map.hole_up_to(segment.at, segment.at / BLOCK * BLOCK);
            map.data(piece(segment.offset, segment.len));
        }
        map.hole_up_to(size, size);
        map.end_data();
        Self { holes: Some(map.regions), pieces: map.pieces }
    }

    pub(super) fn holes(&self) -> Option<&[SparseSeg]> {
        self.holes.as_deref()
    }

    /// Bytes that have to be supplied.
    pub(super) fn stored(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }
}

/// A sparse file while its regions are laid out, from the start to the end.
#[derive(Default)]
struct Map<'a> {
    regions: Vec<SparseSeg>,
    pieces: Vec<Piece<'a>>,
    /// Everything before this is described.
    position: u64,
    /// Length of the region of data that ends here.
    data: u64,
}

impl<'a> Map<'a> {
    fn data(&mut self, piece: Piece<'a>) {
        if piece.len() > 0 {
            self.data += piece.len();
            self.position += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Nothing is stored up to `target`. The hole starts at the next block and ends at `hole_end`, a block border
    /// or the end of the file; what is left on either side becomes zeros.
    fn hole_up_to(&mut self, target: u64, hole_end: u64) {
        let hole_start = self.position.next_multiple_of(BLOCK);
        if hole_start < hole_end {
            self.data(Piece::Zeros(hole_start - self.position));
            self.end_data();
            self.regions.push(SparseSeg::Hole(hole_end - hole_start));
            self.position = hole_end;
        }
        self.data(Piece::Zeros(target - self.position));
    }

    fn end_data(&mut self) {
        if self.data > 0 {
            self.regions.push(SparseSeg::Data(std::mem::take(&mut self.data)));
        }
    }
}

/// Gives the content of one file after the other, and hashes what it gives.
pub(super) struct Reader<'a> {
    layers: &'a [Layer],
    watch: Watch<'a>,
    hasher: sha2::Sha256,
    done: u64,
    total: u64,
}

impl<'a> Reader<'a> {
    /// The digest starts with that of everything which is not content.
    pub(super) fn new(layers: &'a [Layer], watch: Watch<'a>, total: u64, listing: &Sha256) -> Self {
        let mut hasher = sha2::Sha256::new();
        hasher.update(listing.0);
        Self { layers, watch, hasher, done: 0, total }
    }

    pub(super) fn of<'r>(&'r mut self, plan: &'r Plan<'_>) -> impl Read {
        FileReader { reader: self, pieces: plan.pieces.iter(), piece: Piece::Zeros(0), at: 0 }
    }

    pub(super) fn digest(self) -> Sha256 {
        Sha256::finish(self.hasher)
    }
}

struct FileReader<'r, 'a, 'p> {
    reader: &'r mut Reader<'a>,
    pieces: std::slice::Iter<'r, Piece<'p>>,
    piece: Piece<'p>,
    at: u64,
}

impl Read for FileReader<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Reader { layers, watch, hasher, done, total } = &mut *self.reader;
        if watch.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        while self.at == self.piece.len() {
            let Some(next) = self.pieces.next() else { return Ok(0) };
            (self.piece, self.at) = (*next, 0);
        }
        let left = self.piece.len() - self.at;
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..len];
        match self.piece {
            Piece::Zeros(_) => buffer.fill(0),
            Piece::Layer { layer, offset, .. } => layers[layer].read_exact_at(buffer, offset + self.at)?,
            Piece::Bytes(bytes) => {
                let at = usize::try_from(self.at).map_err(io::Error::other)?;
                buffer.copy_from_slice(&bytes[at..at + len]);
            }
        }
        hasher.update(&*buffer);
        self.at += len as u64;
        *done += len as u64;
        watch.report(Stage::Write, *done, *total);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Segment;

    fn plan(size: u64, segments: &[(u64, u64)]) -> (Vec<SparseSeg>, Vec<(u64, bool)>) {
        let segments = segments.iter().map(|&(at, len)| Segment { at, offset: at, len }).collect();
        let content = Content::in_layer(0, size, segments);
        let plan = Plan::new(&content);
        let pieces =
            plan.pieces.iter().map(|piece| (piece.len(), !matches!(piece, Piece::Zeros(_)))).collect();
        (plan.holes.unwrap_or_default(), pieces)
    }

    #[test]
    fn a_file_without_holes_is_one_piece() {
        assert_eq!(plan(5, &[(0, 5)]), (vec![], vec![(5, true)]));
    }

    #[test]
    fn regions_of_data_grow_to_block_borders() {
        use SparseSeg::{Data, Hole};
        let cases = [
            (100_000, vec![], vec![Hole(100_000)], vec![]),
            (
                10_000,
                vec![(5_000, 10)],
                vec![Hole(4096), Data(4096), Hole(1808)],
                vec![(904, false), (10, true), (3182, false)],
            ),
            (9_000, vec![(8_500, 500)], vec![Hole(8192), Data(808)], vec![(308, false), (500, true)]),
            (9_000, vec![(0, 1)], vec![Data(4096), Hole(4904)], vec![(1, true), (4095, false)]),
            // No whole block is free between these two.
            (
                8_192,
                vec![(0, 4_000), (4_200, 3_992)],
                vec![Data(8192)],
                vec![(4_000, true), (200, false), (3_992, true)],
            ),
            (2_000, vec![(10, 10)], vec![Data(2000)], vec![(10, false), (10, true), (1980, false)]),
        ];
        for (size, segments, regions, pieces) in cases {
            assert_eq!(plan(size, &segments), (regions, pieces), "{size} {segments:?}");
        }
    }
}
