//! Paths inside an image, checked once.
//!
//! `.` and empty components vanish and a leading `/` is ignored, since archives in the wild write all three. `..`
//! is resolved by its text, as the registries' own tools do; one that leaves the root is refused.

use std::fmt;

/// Linux's NAME_MAX.
const MAX_NAME: usize = 255;
/// Linux's PATH_MAX without the terminating NUL; also the longest symlink target ext4 stores.
pub(super) const MAX_PATH: usize = 4095;

/// Why some bytes are not a path in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path climbs out of the image")]
    Climbs,
    #[error("the name is not UTF-8")]
    NotUtf8,
    #[error("the name contains a NUL byte")]
    Nul,
    #[error("a name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    #[error("the path is longer than {MAX_PATH} bytes")]
    PathTooLong,
}

/// A normalised path below the image's root, without a leading slash; empty for the root itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TreePath(Box<str>);

impl TreePath {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadPath> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadPath::NotUtf8)?;
        let mut components: Vec<&str> = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => {
                    components.pop().ok_or(BadPath::Climbs)?;
                }
                name if name.len() > MAX_NAME => return Err(BadPath::NameTooLong),
                name if name.contains('\0') => return Err(BadPath::Nul),
                name => components.push(name),
            }
        }
        let path = components.join("/");
        if path.len() > MAX_PATH {
            return Err(BadPath::PathTooLong);
        }
        Ok(Self(path.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// The path of the directory and the name in it; none for the root.
    pub(crate) fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => Some((Self(parent.into()), name)),
            None if self.is_root() => None,
            None => Some((Self("".into()), &self.0)),
        }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, BadPath> {
        TreePath::parse(text.as_bytes()).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn every_way_to_write_a_path_gives_one_form() {
        for text in ["a/b", "/a/b", "./a/b", "//a///b/", "a/./b", "/./a/c/../b", "x/../a/b"] {
            assert_eq!(parse(text).as_deref(), Ok("a/b"), "{text}");
        }
        for text in ["", ".", "/", "./", "a/.."] {
            assert_eq!(parse(text).as_deref(), Ok(""), "{text}");
        }
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused_even_if_it_comes_back() {
        for text in ["..", "../a", "a/../../b", "/..", "/../etc/passwd", "./../image/a", "a/b/../../.."] {
            assert_eq!(parse(text), Err(BadPath::Climbs), "{text}");
        }
    }

    #[test]
    fn dots_inside_names_are_ordinary() {
        assert_eq!(parse("...").as_deref(), Ok("..."));
        assert_eq!(parse("a/..b/c..").as_deref(), Ok("a/..b/c.."));
    }

    #[test]
    fn names_that_no_file_system_takes_are_refused() {
        assert_eq!(TreePath::parse(b"a/\xff"), Err(BadPath::NotUtf8));
        assert_eq!(parse("a\0b"), Err(BadPath::Nul));
        assert_eq!(parse(&"n".repeat(256)), Err(BadPath::NameTooLong));
        assert!(parse(&"n".repeat(255)).is_ok());
        assert!(parse(&"n/".repeat(2048)).is_ok());
        assert_eq!(parse(&"n/".repeat(2049)), Err(BadPath::PathTooLong));
    }
}
