//! Turns what distributions and registries publish into what a VM boots from.
//!
//! Tar layers become one [`tree::Tree`] (an index: it holds no file content), and a tree becomes an ext4 file in one pass,
//! unprivileged and byte for byte reproducible. The two entry points build on that: [`rootfs::build`] and
//! [`kernel::import_tar`].
//!
//! Layers are hostile input. Nothing here ever creates a file named by a layer on the host: names exist only as keys in
//! memory and as directory entries inside the image, so there is no path to escape through; what would be ambiguous in the
//! guest is refused with the layer and the path.
//!
//! Everything blocks, and checks [`Watch`] often enough that a cancel takes effect at once. A function that fails or is
//! cancelled leaves no output behind.

pub mod bundle;
mod digest;
pub mod ext4;
pub mod kernel;
pub mod layer;
mod output;
pub mod rootfs;
pub mod tree;
mod watch;

pub use digest::Sha256;
pub use watch::{Progress, Stage, Watch};

#[cfg(test)]
mod testing;
