//! Every call into the kernel that the compiler cannot check.

pub(crate) mod beside;
pub(crate) mod claim;
pub(crate) mod device_mapper;
pub(crate) mod jail;
pub(crate) mod loops;
pub(crate) mod root;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod tun;
