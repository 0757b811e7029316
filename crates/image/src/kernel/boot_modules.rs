//! The modules a guest needs before it has a root file system, in the order they are loaded.

use super::depmod::Modules;
use super::module::Module;

/// What has to work in the initrd: buses, disks, network, vsock, entropy, and joining a base with its changes. A
/// module's dependencies come before it in any case; the order here is for those it does not declare.
const WANTED: [&str; 17] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
    "dm_mod",
    "dm_bufio",
    "dm_snapshot",
];

/// The root file system, with the checksum it asks for by an algorithm's name, when no modprobe could answer yet.
const EXT4: [&str; 2] = ["crc32c_generic", "ext4"];

/// Without these, modules or built in, no guest comes up that we can talk to.
const NEEDED: [&str; 3] = ["virtio_blk", "virtio_net", "vmw_vsock_virtio_transport"];

/// What to load, first to last. What is built in is no module, and so never listed.
pub(super) fn load_order(modules: &Modules) -> Vec<&Module> {
    let mut order: Vec<&Module> = Vec::new();
    let ext4 = if modules.get("ext4").is_some() { &EXT4[..] } else { &[] };
    for module in WANTED.iter().chain(ext4).filter_map(|name| modules.get(name)) {
        for next in modules.dependencies(module).into_iter().chain([module]) {
            if !order.iter().any(|earlier| earlier.name == next.name) {
                order.push(next);
            }
        }
    }
    order
}

/// Needed drivers that this kernel has in no form.
pub(super) fn missing(modules: &Modules) -> Vec<&'static str> {
    NEEDED.into_iter().filter(|name| modules.get(name).is_none() && !modules.is_builtin(name)).collect()
}
