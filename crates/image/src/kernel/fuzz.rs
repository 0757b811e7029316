//! Any bytes as a kernel or as a module of one.

use super::compressed::{Compression, testing::compress};

use super::module::Module;
use super::module::testing::fake;
use super::{bzimage, extract_vmlinux};

fn vmlinux() -> Vec<u8> {
    [&b"\x7fELF\x02\x01\x01"[..], &[0; 57], &[7; 2000]].concat()
}

#[test]
fn any_bytes_are_a_kernel_or_an_error() {
    let all = [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4Legacy];
    let kernels = all.map(|compression| bzimage::testing::wrap(&compress(compression, &vmlinux())));
    let mut examples: Vec<&[u8]> = kernels.iter().map(Vec::as_slice).collect();
    let plain = vmlinux();
    examples.push(&plain);
    banger_fuzz::feed(&examples, |bytes| {
        if let Ok(found) = extract_vmlinux(bytes) {
            assert!(found.starts_with(b"\x7fELF"));
        }
    });
}

#[test]
fn any_bytes_are_a_module_or_none() {
    let module = fake(&["depends=virtio,virtio_ring", "alias=virtio:d2"]);
    let packed = compress(Compression::Xz, &module);
    banger_fuzz::feed(&[&module, &packed], |bytes| {
        let _ = Module::read("kernel/drivers/block/virtio_blk.ko", bytes);
        let _ = Module::read("kernel/drivers/block/virtio_blk.ko.xz", bytes);
    });
}
