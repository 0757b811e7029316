//! The binary index that modprobe and udev look names up in (libkmod/libkmod-index.h).
//!
//! A trie, written children first: big-endian numbers, offsets whose top bits say which parts a node has. modprobe
//! reads no other form; the text files beside it are for people and for busybox.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// Keys with their values in order of priority, the smallest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

impl Index {
    /// Keys that are not ASCII cannot be represented and are left out, as the original does.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if !key.is_ascii() || key.contains('\0') {
            return;
        }
        let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
        let at = values.partition_point(|(earlier, _)| *earlier < priority);
        values.insert(at, (priority, value.to_owned()));
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC.to_be_bytes());
        out.extend(VERSION.to_be_bytes());
        out.extend([0; 4]);
        let keys: Vec<_> = self.keys.iter().map(|(key, values)| (&**key, &**values)).collect();
        let root = write_node(&mut out, &keys, 0, 0);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

type Key<'a> = (&'a [u8], &'a [(u32, String)]);

/// Writes the node of all `keys`, which agree up to `depth`; its prefix is the part from `start`.
fn write_node(out: &mut Vec<u8>, keys: &[Key<'_>], start: usize, depth: usize) -> u32 {
    let (own, below) = match keys.first() {
        Some((key, values)) if key.len() == depth => (*values, &keys[1..]),
        _ => (&[][..], keys),
    };
    let children: Vec<(u8, u32)> = below
        .chunk_by(|a, b| a.0[depth] == b.0[depth])
        .map(|group| {
            (group[0].0[depth], write_node(out, group, depth + 1, depth + 1 + common(group, depth + 1)))
        })
        .collect();
    let mut offset = u32::try_from(out.len()).expect("an index of module names stays far below 256 MiB");
    if depth > start {
        out.extend_from_slice(&keys[0].0[start..depth]);
        out.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some(&(first, _)), Some(&(last, _))) = (children.first(), children.last()) {
        let mut slots = vec![0u32; usize::from(last - first) + 1];
        for (byte, child) in children {
            slots[usize::from(byte - first)] = child;
        }
        out.extend([first, last]);
        out.extend(slots.into_iter().flat_map(u32::to_be_bytes));
        offset |= HAS_CHILDREN;
    }
    if !own.is_empty() {
        let count = u32::try_from(own.len()).expect("values are modules");
        out.extend(count.to_be_bytes());
        for (priority, value) in own {
            out.extend(priority.to_be_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        }
        offset |= HAS_VALUES;
    }
    offset
}

/// How many bytes after `from` all keys share; they are sorted, so the outer two decide.
fn common(keys: &[Key<'_>], from: usize) -> usize {
    let (first, last) = (&keys[0].0[from..], &keys[keys.len() - 1].0[from..]);
    first.iter().zip(last).take_while(|(a, b)| a == b).count()
}
