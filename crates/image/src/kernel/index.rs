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

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn text_at(bytes: &[u8], at: usize) -> String {
        let end = bytes[at..].iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[at..at + end].to_vec()).unwrap()
    }

    /// Looks a key up the way libkmod does.
    fn find(bytes: &[u8], node: u32, mut key: &str) -> Vec<String> {
        let mut at = (node & 0x0fff_ffff) as usize;
        if node & HAS_PREFIX != 0 {
            let prefix = text_at(bytes, at);
            let Some(rest) = key.strip_prefix(&*prefix) else { return Vec::new() };
            key = rest;
            at += prefix.len() + 1;
        }
        if node & HAS_CHILDREN != 0 {
            let (first, last) = (bytes[at], bytes[at + 1]);
            if let Some(&byte) = key.as_bytes().first() {
                let slot = at + 2 + 4 * usize::from(byte.wrapping_sub(first));
                let inside = (first..=last).contains(&byte) && u32_at(bytes, slot) != 0;
                return if inside { find(bytes, u32_at(bytes, slot), &key[1..]) } else { Vec::new() };
            }
            at += 2 + 4 * (usize::from(last - first) + 1);
        }
        if node & HAS_VALUES == 0 || !key.is_empty() {
            return Vec::new();
        }
        let mut values = Vec::new();
        let mut value = at + 4;
        for _ in 0..u32_at(bytes, at) {
            values.push(text_at(bytes, value + 4));
            value += 4 + values[values.len() - 1].len() + 1;
        }
        values
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let keys = ["virtio", "virtio_net", "virtio_blk", "v", "pci:v*d*", "pci:v*", "zram", "a"];
        let mut index = Index::default();
        for key in keys {
            index.insert(key, &format!("value of {key}"), 1);
        }
        let bytes = index.to_bytes();
        let root = u32_at(&bytes, 8);
        for key in keys {
            assert_eq!(find(&bytes, root, key), [format!("value of {key}")]);
        }
        for other in ["", "virt", "virtio_", "virtio_nett", "pci:", "zz", "A", "vv"] {
            assert!(find(&bytes, root, other).is_empty(), "{other}");
        }
    }

    #[test]
    fn values_of_one_key_come_in_order_of_priority() {
        let mut index = Index::default();
        for (value, priority) in [("second", 5), ("third", 9), ("first", 0)] {
            index.insert("key", value, priority);
        }
        let bytes = index.to_bytes();
        assert_eq!(find(&bytes, u32_at(&bytes, 8), "key"), ["first", "second", "third"]);
    }

    #[test]
    fn bytes_are_those_that_depmod_writes() {
        let mut index = Index::default();
        index.insert("ab", "x", 2);
        index.insert("ac", "y", 3);
        let node = |value| [&[0, 0, 0, 1, 0, 0, 0, value - b'v'][..], &[value, 0]].concat();
        let mut wanted = vec![0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1, 0x20, 0, 0, 42];
        wanted.extend(node(b'x'));
        wanted.extend(node(b'y'));
        // The node below `a` has two children; the root has one.
        wanted.extend([b'b', b'c', 0x40, 0, 0, 12, 0x40, 0, 0, 22]);
        wanted.extend([b'a', b'a', 0x20, 0, 0, 32]);
        assert_eq!(index.to_bytes(), wanted);
    }
}
