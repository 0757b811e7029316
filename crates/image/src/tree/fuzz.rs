//! Any bytes as a layer: a tree or an error, and of a tree a sound file system.

use std::fs::File;

use tar::EntryType;

use super::Tree;
use crate::Watch;
use crate::ext4::{Ext4Writer, Inodes, Options, WriteError};
use crate::layer::{Layer, LayerError, Limits};
use crate::testing::{Archive, chain, file};

/// Something of everything, small.
fn examples() -> Vec<Vec<u8>> {
    let everything = Archive::new()
        .pax(&[("path", b"long/name"), ("mtime", b"-1.5"), ("uid", b"70000"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", b"content")
        .dir("d/", 0o1755)
        .link("d/l", "long/name")
        .symlink("s", "../t")
        .raw(EntryType::Fifo, b"p", b"", 0o600, b"")
        .bytes();
    let sparse = Archive::new()
        .pax(&[("GNU.sparse.map", b"512,3,4096,2"), ("GNU.sparse.size", b"9000"), ("GNU.sparse.name", b"s")])
        .file("x", b"abcde")
        .bytes();
    let mut map = b"2\n4096\n3\n1048576\n0\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abc");
    let version: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1048576")];
    let mapped = Archive::new().pax(&version).file("m", &map).bytes();
    let hiding =
        Archive::new().file("d/.wh.l", b"").file("d/.wh..wh..opq", b"").file("long/.wh.name", b"").bytes();
    let zstd = zstd::encode_all(&everything[..], 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &everything).unwrap();
    vec![everything, sparse, mapped, hiding, zstd, gzip.finish().unwrap()]
}

fn limits() -> Limits {
    Limits { entries: 10_000, file_bytes: 1 << 40, expanded_bytes: 32 << 20, ..Limits::default() }
}

/// On a layer that is in order, so that there is something to hide and to link to.
fn flatten(top: &File) -> Result<([Layer; 2], Tree), LayerError> {
    let below = Archive::new()
        .dir("d", 0o755)
        .file("d/l", b"below")
        .file("long/name", b"x")
        .symlink("s", "d")
        .layer();
    let top = Layer::open("top", top, std::path::Path::new("/tmp"), &limits(), Watch::none())?;
    let layers = [below, top];
    let tree = Tree::from_layers(&layers, &limits(), Watch::none())?;
    Ok((layers, tree))
}

fn overwrite(file: &File, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    file.set_len(0).and_then(|()| file.write_all_at(bytes, 0)).unwrap();
}

#[test]
fn any_bytes_are_a_tree_or_an_error_that_names_the_layer() {
    let examples = examples();
    let layer = file(b"");
    banger_fuzz::feed(&examples.iter().map(Vec::as_slice).collect::<Vec<_>>(), |bytes| {
        overwrite(&layer, bytes);
        match flatten(&layer) {
            Ok((_, tree)) => {
                for step in tree.walk(Tree::ROOT) {
                    let sound =
                        !step.name.is_empty() && step.name.len() <= 255 && !step.name.contains(['/', '\0']);
                    assert!(sound && !matches!(step.name, "." | ".."), "{:?}", step.name);
                }
            }
            Err(error) => assert!(chain(&error).contains("layer top"), "{}", chain(&error)),
        }
    });
}

#[test]
fn any_tree_that_bytes_are_becomes_a_file_system_or_does_not_fit() {
    let examples = examples();
    let (layer, image) = (file(b""), file(b""));
    banger_fuzz::feed(&examples.iter().map(Vec::as_slice).collect::<Vec<_>>(), |bytes| {
        overwrite(&layer, bytes);
        let Ok((layers, tree)) = flatten(&layer) else { return };
        overwrite(&image, b"");
        let options = Options { size: 8 << 20, label: None, uuid: None, inodes: Inodes::ReadOnly };
        match Ext4Writer::new(&tree, &layers, Tree::ROOT).write(&image, &options, Watch::none()) {
            Ok(_) => {
                // What another implementation reads of it.
                let fs = ext4_view::Ext4::load(Box::new(image.try_clone().unwrap())).unwrap();
                assert_eq!(fs.exists("/long").unwrap(), tree.get("long").is_some());
            }
            Err(WriteError::DoesNotFit { .. } | WriteError::Declare { .. }) => {}
            Err(error) => panic!("{}", chain(&error)),
        }
    });
}
