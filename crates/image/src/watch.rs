//! How a long build tells how far it is, and learns that nobody wants it any more.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a build is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A layer is being compared with its digest, and unpacked to a scratch file if it is compressed; the total is
    /// its size as stored.
    Decompress,
    /// Layer headers are being read; the total is the size of all layers.
    Index,
    /// File content is being written into a file system; the total is the content of all files.
    Write,
    /// Kernel modules are being read for their dependencies; the total is their size.
    Modules,
}

/// `done` of `total` bytes of one stage. `done` never runs backwards within a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

/// The caller's side of a running build.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    cancelled: &'a AtomicBool,
}

impl<'a> Watch<'a> {
    /// `progress` is called often and must be cheap; setting `cancelled` ends the build with an error.
    pub fn new(progress: &'a (dyn Fn(Progress) + Sync), cancelled: &'a AtomicBool) -> Self {
        Self { progress, cancelled }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, stage: Stage, done: u64, total: u64) {
        (self.progress)(Progress { stage, done, total });
    }
}

impl Watch<'static> {
    /// Nobody looks and nobody cancels.
    pub fn none() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { progress: &|_| {}, cancelled: &NEVER }
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
