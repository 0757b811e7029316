//! One tar entry with its numbers in range, or the reason it is refused.

use tar_core::parse::ParsedEntry;
use tar_core::{EntryType, SparseEntry};

use super::path::MAX_PATH;
use super::pax::Overrides;
use super::{BadPath, Refusal, TreePath};
use crate::tree::{Attribute, Content, Meta, Mtime, Segment};

/// What ext4's 34-bit seconds can hold: 1901 to 2446. The kernel clamps the same way.
const SECONDS: std::ops::RangeInclusive<i64> = -(1 << 31)..=(1 << 31) + 3 * (1 << 32) - 1;
/// What fits beside an inode in one block, headers taken off.
const MAX_ATTRIBUTES: usize = 4096 - 64;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: TreePath,
    pub(crate) meta: Meta,
    pub(crate) kind: EntryKind,
}

#[derive(Debug)]
pub(crate) enum EntryKind {
    Directory,
    File(Content),
    Symlink(Box<str>),
    HardLink(TreePath),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// Where the content of an entry is, from the header reader.
pub(super) struct Body {
    pub(super) layer: usize,
    pub(super) offset: u64,
    /// Bytes in the archive, which is less than the file's size when it has holes.
    pub(super) stored: u64,
    /// The regions that are not holes, and the file's full size.
    pub(super) sparse: Option<(Vec<SparseEntry>, u64)>,
}

impl Entry {
    pub(super) fn new(parsed: &ParsedEntry<'_>, overrides: &Overrides, body: Body) -> Result<Self, Refusal> {
        let path = TreePath::parse(&parsed.path).map_err(Refusal::Path)?;
        let kind = kind(parsed, body)?;
        Ok(Self { path, meta: meta(parsed, overrides)?, kind })
    }

    /// What the entry keeps in memory beyond its fixed size.
    pub(super) fn metadata_bytes(&self) -> usize {
        let target = match &self.kind {
            EntryKind::Symlink(target) => target.len(),
            EntryKind::HardLink(target) => target.as_str().len(),
            EntryKind::File(content) => size_of_val(content.segments()),
            _ => 0,
        };
        let attributes: usize = self.meta.attributes.iter().map(Attribute::len).sum();
        self.path.as_str().len() + target + attributes
    }
}

/// Whether bytes follow the header. Links, devices and directories have none, whatever their size field says: old
/// writers put the target's size into a hard link's header.
pub(super) fn has_body(entry_type: EntryType) -> bool {
    matches!(
        entry_type,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse | EntryType::Other(_)
    )
}

fn kind(parsed: &ParsedEntry<'_>, body: Body) -> Result<EntryKind, Refusal> {
    let device = || {
        let (major, minor) = (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
        if major > 0xfff || minor > 0xf_ffff {
            return Err(Refusal::Device { major, minor });
        }
        Ok((major, minor))
    };
    let target = || parsed.link_target.as_deref().ok_or(Refusal::NoLinkTarget);
    match parsed.entry_type {
        EntryType::Directory => Ok(EntryKind::Directory),
        // Archives from before there was a type for directories mark them by their name.
        EntryType::Regular if parsed.path.ends_with(b"/") => Ok(EntryKind::Directory),
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => {
            Ok(EntryKind::File(content(body)?))
        }
        EntryType::Symlink => Ok(EntryKind::Symlink(symlink_target(target()?)?)),
        EntryType::Link => {
            let path = TreePath::parse(target()?).map_err(|source| Refusal::LinkTarget { source })?;
            Ok(EntryKind::HardLink(path))
        }
        EntryType::Char => device().map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        EntryType::Block => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
        EntryType::Fifo => Ok(EntryKind::Fifo),
        other => Err(Refusal::UnknownType(char::from(other.to_byte()))),
    }
}

/// A target is data: absolute, climbing or dangling, it is kept as written.
fn symlink_target(bytes: &[u8]) -> Result<Box<str>, Refusal> {
    let refuse = |source| Refusal::LinkTarget { source };
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(BadPath::NotUtf8))?;
    if text.len() > MAX_PATH {
        return Err(refuse(BadPath::PathTooLong));
    }
    if text.contains('\0') {
        return Err(refuse(BadPath::Nul));
    }
    Ok(text.into())
}

fn content(body: Body) -> Result<Content, Refusal> {
    let Some((map, size)) = body.sparse else {
        let segment = Segment { at: 0, offset: body.offset, len: body.stored };
        let segments = if body.stored == 0 { Vec::new() } else { vec![segment] };
        return Ok(Content::in_layer(body.layer, body.stored, segments));
    };
    let mut segments: Vec<Segment> = Vec::with_capacity(map.len());
    let mut stored = 0u64;
    let mut end = 0u64;
    // A region of length zero at the end only states the file's size.
    for region in map.into_iter().filter(|region| region.length > 0) {
        if region.offset < end {
            return Err(Refusal::SparseMap);
        }
        end = region.offset.checked_add(region.length).ok_or(Refusal::SparseMap)?;
        segments.push(Segment { at: region.offset, offset: body.offset + stored, len: region.length });
        stored += region.length;
    }
    if end > size || stored > body.stored {
        return Err(Refusal::SparseMap);
    }
    Ok(Content::in_layer(body.layer, size, segments))
}

fn meta(parsed: &ParsedEntry<'_>, overrides: &Overrides) -> Result<Meta, Refusal> {
    let owner = |plain, over: Option<u64>| {
        let id = over.unwrap_or(plain);
        u32::try_from(id).map_err(|_| Refusal::Owner { id })
    };
    // A header's time before 1970 is in base 256, which the library reads as two's complement without a sign.
    let mtime = overrides.mtime.unwrap_or(Mtime { seconds: parsed.mtime.cast_signed(), nanos: 0 });
    let clamped = mtime.seconds.clamp(*SECONDS.start(), *SECONDS.end());
    let attributes = attributes(parsed)?;
    let plain = u16::try_from(parsed.mode & 0o7777).expect("twelve bits fit in sixteen");
    let listed = attributes.iter().find_map(Attribute::permissions);
    Ok(Meta {
        mode: listed.map_or(plain, |listed| plain & 0o7000 | listed),
        uid: owner(parsed.uid, overrides.uid)?,
        gid: owner(parsed.gid, overrides.gid)?,
        mtime: Mtime { seconds: clamped, nanos: if clamped == mtime.seconds { mtime.nanos } else { 0 } },
        attributes,
    })
}

fn attributes(parsed: &ParsedEntry<'_>) -> Result<Box<[Attribute]>, Refusal> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for (name, value) in &parsed.xattrs {
        // tar-core has read the key as UTF-8 already; anything else cannot be one of the names below.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Some(attribute) = Attribute::from_archive(name, value)? {
            // The last record of a name counts.
            attributes.retain(|earlier| earlier.name() != attribute.name());
            attributes.push(attribute);
        }
    }
    if attributes.iter().map(Attribute::len).sum::<usize>() > MAX_ATTRIBUTES {
        return Err(Refusal::AttributesTooLarge);
    }
    Ok(attributes.into())
}
