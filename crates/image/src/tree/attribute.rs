//! Extended attributes, and the two forms an access control list has.
//!
//! Archives carry what getxattr(2) gave: version 2, every entry eight bytes. ext4 stores version 1, where only
//! entries for a named user or group carry an id. A version 2 list written to disk as it is reads back as "invalid
//! argument" and no checker notices (fs/ext4/acl.c, include/uapi/linux/posix_acl_xattr.h).

use crate::layer::Refusal;

/// One extended attribute in the form the system call interface gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    name: Box<str>,
    value: Box<[u8]>,
}

/// Whom the file itself lets in, and what is made in a directory.
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// The little-endian number an access control list starts with, in each of its forms.
const ON_DISK: u32 = 1;
const IN_SYSTEM_CALLS: u32 = 2;

/// ACL_USER and ACL_GROUP: the entries that name somebody.
const NAMED: [u16; 2] = [0x02, 0x08];
/// ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER.
const UNNAMED: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

impl Attribute {
    /// None for attributes no Linux file system keeps, such as those an archive brings from another system, and for
    /// `system.` ones that are ext4's own.
    pub(crate) fn from_archive(name: &str, value: &[u8]) -> Result<Option<Self>, Refusal> {
        let suffix = ["user.", "trusted.", "security."].iter().find_map(|prefix| name.strip_prefix(prefix));
        let kept = match suffix {
            Some(suffix) => !suffix.is_empty() && suffix.len() <= 255 && !suffix.contains('\0'),
            None => is_access_control_list(name),
        };
        if !kept {
            return Ok(None);
        }
        let attribute = Self { name: name.into(), value: value.into() };
        match attribute.disk_value() {
            Some(_) => Ok(Some(attribute)),
            None => Err(Refusal::AccessControlList(name.to_owned())),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The permission bits that an access control list implies, which are the mode's: who sets a list sets them
    /// (fs/posix_acl.c, posix_acl_update_mode). None for any other attribute.
    pub(crate) fn permissions(&self) -> Option<u16> {
        if &*self.name != ACCESS {
            return None;
        }
        let entries = self.value.get(4..)?.chunks_exact(8);
        let entries = entries.map(|entry| {
            (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]) & 0o7)
        });
        let of = |tag| entries.clone().find_map(|(found, mode)| (found == tag).then_some(mode));
        let [owner, group, mask, other] = UNNAMED.map(of);
        Some(owner? << 6 | mask.or(group)? << 3 | other?)
    }

    /// Room it takes in a file system, entry and padding included.
    pub(crate) fn len(&self) -> usize {
        16 + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// The bytes ext4 stores; none if this should be an access control list and is not.
    pub(crate) fn disk_value(&self) -> Option<std::borrow::Cow<'_, [u8]>> {
        if is_access_control_list(&self.name) {
            access_control_list_to_disk(&self.value).map(Into::into)
        } else {
            Some((&*self.value).into())
        }
    }
}

fn is_access_control_list(name: &str) -> bool {
    matches!(name, ACCESS | DEFAULT)
}

fn access_control_list_to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != IN_SYSTEM_CALLS || entries.len() % 8 != 0 {
        return None;
    }
    let mut disk = ON_DISK.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let (short, id) = entry.split_at(4);
        let tag = u16::from_le_bytes([short[0], short[1]]);
        disk.extend_from_slice(short);
        if NAMED.contains(&tag) {
            disk.extend_from_slice(id);
        } else if !UNNAMED.contains(&tag) {
            return None;
        }
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// getfacl: user::rwx user:1000:r-x group::r-x mask::r-x other::---
    fn list() -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in
            [(1u16, 7u16, u32::MAX), (2, 5, 1000), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)]
        {
            value.extend(tag.to_le_bytes());
            value.extend(perm.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn a_list_loses_the_ids_of_unnamed_entries_on_disk() {
        let attribute = Attribute::from_archive("system.posix_acl_access", &list()).unwrap().unwrap();
        let disk = attribute.disk_value().unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(disk[..4], [1, 0, 0, 0]);
        assert_eq!(disk[4..8], [1, 0, 7, 0]);
        assert_eq!(disk[8..16], [2, 0, 5, 0, 0xe8, 3, 0, 0]);
    }

    #[test]
    fn a_list_implies_the_mode_and_its_mask_counts_for_the_group() {
        let attribute = |name, value: &[u8]| Attribute::from_archive(name, value).unwrap().unwrap();
        assert_eq!(attribute(ACCESS, &list()).permissions(), Some(0o750));
        let mut masked = list();
        masked[4 + 3 * 8 + 2] = 1;
        assert_eq!(attribute(ACCESS, &masked).permissions(), Some(0o710));
        let unmasked = [&list()[..4 + 3 * 8], &list()[4 + 4 * 8..]].concat();
        assert_eq!(attribute(ACCESS, &unmasked).permissions(), Some(0o750));
        assert_eq!(attribute(DEFAULT, &list()).permissions(), None);
        assert_eq!(attribute(ACCESS, &list()[..4]).permissions(), None);
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        let mut wrong_version = list();
        wrong_version[0] = 1;
        let mut wrong_tag = list();
        wrong_tag[4] = 3;
        for value in [&b""[..], b"\x02\0\0", &list()[..13], &wrong_version, &wrong_tag] {
            assert!(Attribute::from_archive("system.posix_acl_default", value).is_err());
        }
    }

    #[test]
    fn names_no_linux_file_system_keeps_are_dropped() {
        let long = |length| format!("user.{}", "n".repeat(length));
        let longest = Attribute::from_archive(&long(255), b"x").unwrap();
        assert!(longest.is_some());
        for name in [
            "com.apple.provenance",
            "system.data",
            "system.richacl",
            "user.",
            "security",
            "",
            "user.a\0b",
            &long(256),
        ] {
            assert_eq!(Attribute::from_archive(name, b"x").unwrap(), None, "{name}");
        }
        assert!(Attribute::from_archive("security.capability", b"\0\n=\xff").unwrap().is_some());
    }
}
