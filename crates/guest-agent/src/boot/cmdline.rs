//! Which disk is what, from the kernel command line.
//!
//! `banger.disks=base,cow,work,modules,config`: the roles of `/dev/vda`, `/dev/vdb`, … in this order.

use banger_protocol::root_api::DiskRole;

const PARAMETER: &str = "banger.disks=";
const MOST_DISKS: usize = 26;

/// The disks' places: 0 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) root: RootDisk,
    pub(super) work: Option<usize>,
    pub(super) modules: Option<usize>,
    pub(super) config: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootDisk {
    /// One writable disk.
    Own(usize),
    /// A shared base and the changes to it.
    Joined { base: usize, cow: usize },
}

/// Why the command line does not describe a guest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum LayoutError {
    #[error("the kernel command line has no {PARAMETER}…")]
    Missing,
    #[error("{0:?} is not a disk role")]
    UnknownRole(String),
    #[error("two disks are the {}", .0.as_str())]
    Twice(DiskRole),
    #[error("more than {MOST_DISKS} disks")]
    TooMany,
    #[error("there must be either a root or a base and a cow")]
    NoRoot,
}

impl Layout {
    pub(super) fn parse(cmdline: &str) -> Result<Self, LayoutError> {
        let words = cmdline.split_whitespace().find_map(|word| word.strip_prefix(PARAMETER));
        let words: Vec<&str> = words.ok_or(LayoutError::Missing)?.split(',').collect();
        if words.len() > MOST_DISKS {
            return Err(LayoutError::TooMany);
        }
        let mut roles = Vec::new();
        for word in words {
            let role = DiskRole::from_word(word).ok_or_else(|| LayoutError::UnknownRole(word.to_owned()))?;
            if roles.contains(&role) {
                return Err(LayoutError::Twice(role));
            }
            roles.push(role);
        }
        let place = |wanted| roles.iter().position(|&role| role == wanted);
        let root = match (place(DiskRole::Root), place(DiskRole::Base), place(DiskRole::Cow)) {
            (Some(root), None, None) => RootDisk::Own(root),
            (None, Some(base), Some(cow)) => RootDisk::Joined { base, cow },
            _ => return Err(LayoutError::NoRoot),
        };
        Ok(Self {
            root,
            work: place(DiskRole::Work),
            modules: place(DiskRole::Modules),
            config: place(DiskRole::Config),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_places_in_device_order() {
        let layout = Layout::parse("console=ttyS0 banger.disks=root,work,modules,config quiet\n").unwrap();
        let expected = Layout { root: RootDisk::Own(0), work: Some(1), modules: Some(2), config: Some(3) };
        assert_eq!(layout, expected);
        let layout = Layout::parse("banger.disks=config,cow,base").unwrap();
        assert_eq!(layout.root, RootDisk::Joined { base: 2, cow: 1 });
        assert_eq!((layout.work, layout.config), (None, Some(0)));
    }

    #[test]
    fn a_layout_that_leaves_the_root_open_is_refused() {
        let refused = |words: &str| Layout::parse(&format!("banger.disks={words}")).unwrap_err();
        assert_eq!(Layout::parse("quiet"), Err(LayoutError::Missing));
        assert_eq!(refused("work"), LayoutError::NoRoot);
        assert_eq!(refused("base,work"), LayoutError::NoRoot);
        assert_eq!(refused("root,base,cow"), LayoutError::NoRoot);
        assert_eq!(refused("root,root"), LayoutError::Twice(DiskRole::Root));
        assert_eq!(refused(""), LayoutError::UnknownRole(String::new()));
        assert_eq!(refused(&["root"; 27].join(",")), LayoutError::TooMany);
    }
}
