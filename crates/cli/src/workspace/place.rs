//! The place in a guest where a folder goes: how it is named, and whether something is there already.

use super::inside::Inside;
use super::{Options, PrepareError, lay};
use crate::guest::Input;
use banger_protocol::guest_api::Exit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A place in a guest, as a user names one.
pub(crate) fn guest_path(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let plain = Path::new(text).components().all(|part| {
        matches!(part, std::path::Component::RootDir)
            || matches!(part, std::path::Component::Normal(name) if !name.as_bytes().starts_with(b"-"))
    });
    if text.starts_with('/') && plain && !trimmed.is_empty() {
        Ok(trimmed.to_owned())
    } else {
        Err("a path in the guest must be absolute, such as /root/work".to_owned())
    }
}

/// Refuses a place where something is that banger did not lay, unless forced to use it.
pub(super) fn unless_occupied(inside: &mut Inside<'_>, options: &Options) -> Result<(), PrepareError> {
    let place = inside.place.clone();
    let listed = inside.run(&["ls", "-A", "--", &place], &[], Input::None)?;
    if listed.exit != Exit::Code(0) || listed.stdout.is_empty() {
        return Ok(());
    }
    // A repository that says nothing at all was begun and did not get to say that it is not finished.
    let is_bare_beginning =
        listed.stdout == b".git\n" && inside.find(&["rev-parse", "--quiet", "--verify", "HEAD"])?.is_none();
    if is_bare_beginning || inside.find(&["config", "--get", lay::UNFINISHED])?.is_some() {
        return lay::take_over(inside);
    }
    if options.force {
        // A repository whose objects lie elsewhere, as git makes submodules: ours has them where it is.
        return inside.script("[ ! -f .git ] || rm -f .git", &[], Input::None).map(drop);
    }
    Err(PrepareError::Occupied { place })
}
