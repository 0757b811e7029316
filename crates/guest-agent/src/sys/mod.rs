//! All unsafe of the agent: signals, what a child does between fork and exec, device-mapper's ioctls and one of ext4's.
#![expect(unsafe_code, reason = "these calls have no safe wrapper in the libraries used")]

pub(crate) mod child;
pub(crate) mod device_mapper;
pub(crate) mod ext4;
pub(crate) mod signals;

/// Keeps glibc to one heap: every thread would otherwise get an arena of its own, and threads are short here.
pub(crate) fn one_heap() {
    // SAFETY: mallopt takes two integers and is called before any other thread exists.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
