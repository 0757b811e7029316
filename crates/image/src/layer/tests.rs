//! Layers where they lie: in the midst of other bytes, and not what somebody promised.

use std::fs::File;
use std::io::Write as _;

use super::{Blob, Layer, LayerError, Limits};
use crate::testing::{Archive, chain, file, tree};
use crate::{Sha256, Watch};
use std::sync::atomic::AtomicBool;

fn open(blob: &Blob<'_>) -> Result<Layer, LayerError> {
    Layer::of_blob(blob, &std::env::temp_dir(), &Limits::default(), Watch::none())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// All ways in which a layer is stored.
fn stored(tar: &[u8]) -> [Vec<u8>; 3] {
    [tar.to_vec(), gzip(tar), zstd(tar)]
}

fn names(layer: Layer) -> Vec<String> {
    let tree = tree(&[layer]).unwrap();
    let names = tree.node(crate::tree::Tree::ROOT).directory().unwrap().iter();
    names.map(|(name, _)| name.to_owned()).collect()
}

fn promising<'a>(file: &'a File, bytes: &[u8], tar: &[u8]) -> Blob<'a> {
    Blob {
        digest: Some(Sha256::of(bytes)),
        diff_id: Some(Sha256::of(tar)),
        ..Blob::new("it", file, 0, bytes.len() as u64)
    }
}

#[test]
fn a_layer_in_the_midst_of_a_file_is_read_and_nothing_around_it() {
    let tar = Archive::new().file("inside", b"content").bytes();
    // What follows would be an entry too.
    let neighbour = Archive::new().file("outside", b"x").bytes();
    for stored in stored(&tar[..1024]) {
        let around = [vec![b'#'; 777], stored.clone(), neighbour.clone()].concat();
        let file = file(&around);
        let blob = Blob { offset: 777, ..promising(&file, &stored, &tar[..1024]) };
        assert_eq!(names(open(&blob).unwrap()), ["inside"]);
    }
}

#[test]
fn an_entry_that_claims_the_bytes_behind_its_layer_does_not_get_them() {
    let tar = Archive::new().file("greedy", &[b'x'; 4096]).bytes();
    let around = [&tar[..1024], b"secret", &[0; 8192]].concat();
    let file = file(&around);
    let layer = open(&Blob::new("it", &file, 0, 1024)).unwrap();
    let error = tree(&[layer]).unwrap_err();
    assert!(matches!(error, LayerError::Truncated { .. }), "{}", chain(&error));
}

#[test]
fn a_layer_that_is_not_what_was_promised_is_refused_however_it_is_stored() {
    let tar = Archive::new().file("a", b"content").bytes();
    let other = Archive::new().file("b", b"content").bytes();
    for (stored, changed) in stored(&tar).into_iter().zip(stored(&other)) {
        let file = file(&changed);
        let swapped = Blob { length: changed.len() as u64, ..promising(&file, &stored, &tar) };
        assert!(matches!(open(&swapped), Err(LayerError::Digest { .. })));
        // Another layer under a digest that is right.
        let smuggled = Blob { digest: Some(Sha256::of(&changed)), ..swapped };
        let is_plain = changed == other;
        let error = open(&smuggled).unwrap_err();
        assert!(matches!(error, LayerError::DiffId { .. }), "plain: {is_plain}: {}", chain(&error));
    }
}

#[test]
fn every_flipped_byte_of_a_stored_layer_is_found() {
    let tar = Archive::new().file("a", b"content").bytes();
    for stored in stored(&tar) {
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 0x40;
            let file = file(&flipped);
            let error = open(&promising(&file, &stored, &tar)).unwrap_err();
            assert!(matches!(error, LayerError::Digest { .. }), "byte {at}: {}", chain(&error));
        }
    }
}

#[test]
fn bytes_behind_the_compressed_data_belong_to_what_is_hashed() {
    let tar = Archive::new().file("a", b"content").bytes();
    for stored in [gzip(&tar), zstd(&tar)] {
        let longer = [&stored[..], &[0xaa; 1 << 20]].concat();
        let file = file(&longer);
        let blob = Blob { length: longer.len() as u64, ..promising(&file, &stored, &tar) };
        assert!(matches!(open(&blob), Err(LayerError::Digest { .. })));
        // Promised as they are, they still are no layer; and it is not the digest's fault.
        let error = open(&promising(&file, &longer, &tar)).unwrap_err();
        assert!(matches!(error, LayerError::Decompress { .. }), "{}", chain(&error));
    }
}

#[test]
fn a_layer_that_is_cut_off_or_lies_behind_its_files_end_is_refused() {
    let tar = Archive::new().file("a", b"content").bytes();
    for stored in stored(&tar) {
        let file = file(&stored[..stored.len() - 1]);
        let error = open(&promising(&file, &stored, &tar)).unwrap_err();
        assert!(matches!(error, LayerError::Length { .. }), "{}", chain(&error));
    }
    let file = file(&tar);
    for (offset, length) in [(0, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, tar.len() as u64)] {
        let error = open(&Blob::new("it", &file, offset, length)).unwrap_err();
        assert!(matches!(error, LayerError::Length { .. }), "{offset}+{length}: {}", chain(&error));
    }
}

#[test]
fn members_and_frames_behind_each_other_are_one_layer() {
    let tar = Archive::new().file("a", b"content").bytes();
    let (front, back) = tar.split_at(700);
    for stored in [[gzip(front), gzip(back)].concat(), [zstd(front), zstd(back)].concat()] {
        let file = file(&stored);
        assert_eq!(names(open(&promising(&file, &stored, &tar)).unwrap()), ["a"]);
    }
}

#[test]
fn nobody_waits_for_a_layer_that_nobody_wants_any_more_however_it_is_stored() {
    let tar = Archive::new().file("a", b"content").bytes();
    for stored in stored(&tar) {
        let file = file(&stored);
        let (cancelled, report) = (AtomicBool::new(true), |_| {});
        let watch = Watch::new(&report, &cancelled);
        let blob = promising(&file, &stored, &tar);
        let opened = Layer::of_blob(&blob, &std::env::temp_dir(), &Limits::default(), watch);
        assert!(matches!(opened, Err(LayerError::Cancelled)));
    }
}
