//! The guest's users, from its `/etc/passwd` and `/etc/group`.
//!
//! Read directly: the C library would want to load plug-ins of the guest's, which a static program cannot.

use std::path::Path;

/// Who a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, `gid` among them.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// Looks `name` up, a name or a number, in the account files under `etc`. A group may follow behind a `:`, as images
/// have it; it is then the only one.
///
/// Root exists even where there is no `passwd` at all, as in an image that holds a single program.
pub(crate) fn find(etc: &Path, name: &str) -> Option<User> {
    let (name, group) = match name.split_once(':') {
        Some((name, group)) => (if name.is_empty() { "root" } else { name }, Some(group)),
        None => (name, None),
    };
    let passwd = read(&etc.join("passwd"));
    let mut user = parse_passwd(&passwd, name).or_else(|| by_number(&passwd, name)).or_else(|| root(name))?;
    let groups = read(&etc.join("group"));
    match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            user.gid = group.parse().ok().or_else(|| gid_of(&groups, group))?;
            user.groups = vec![user.gid];
        }
        None => user.groups = parse_groups(&groups, &user.name, user.gid),
    }
    Some(user)
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn root(name: &str) -> Option<User> {
    (name == "root" || name == "0").then(|| User {
        name: "root".to_owned(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: "/root".to_owned(),
        shell: "/bin/sh".to_owned(),
    })
}

fn parse_passwd(text: &str, name: &str) -> Option<User> {
    text.lines().filter_map(parse_line).find(|user| user.name == name)
}

/// A number stands for the account with that uid or, as container images use it, for one without an account.
fn by_number(passwd: &str, number: &str) -> Option<User> {
    let uid: u32 = number.parse().ok()?;
    passwd.lines().filter_map(parse_line).find(|user| user.uid == uid).or_else(|| {
        (uid != 0).then(|| User {
            name: number.to_owned(),
            uid,
            gid: 0,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        })
    })
}

fn parse_line(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
    let or = |value: &str, fallback: &str| if value.is_empty() { fallback } else { value }.to_owned();
    Some(User {
        name: (!name.is_empty()).then(|| name.to_owned())?,
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: or(home, "/"),
        shell: or(shell, "/bin/sh"),
    })
}

fn gid_of(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let [own, _, gid, _] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        (own == name).then(|| gid.parse().ok())?
    })
}

fn parse_groups(text: &str, name: &str, own: u32) -> Vec<u32> {
    let mut groups = vec![own];
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { continue };
        if let Ok(gid) = gid.parse()
            && members.split(',').any(|member| member == name)
            && !groups.contains(&gid)
        {
            groups.push(gid);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken line\ndev:x:1000:1000:Dev,,,:/home/dev:\n\
                          nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nsudo:x:27:dev,other\ndocker:x:900:other\nkvm:x:77:dev\ndev:x:1000:\n";

    fn etc() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("passwd"), PASSWD).unwrap();
        std::fs::write(folder.path().join("group"), GROUP).unwrap();
        folder
    }

    #[test]
    fn a_user_comes_with_every_group_that_names_them() {
        let user = find(etc().path(), "dev").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (1000, 1000, "/home/dev"));
        assert_eq!(user.groups, [1000, 27, 77]);
        assert_eq!(user.shell, "/bin/sh", "an empty shell field means the standard shell");
    }

    #[test]
    fn a_number_finds_its_account_or_stands_for_itself() {
        assert_eq!(find(etc().path(), "1000").unwrap().name, "dev");
        let nameless = find(etc().path(), "4321").unwrap();
        assert_eq!((nameless.uid, nameless.gid, nameless.home.as_str()), (4321, 0, "/"));
    }

    #[test]
    fn a_group_behind_the_user_is_the_only_one() {
        let of = |name: &str| find(etc().path(), name).map(|user| (user.uid, user.gid, user.groups));
        assert_eq!(of("dev:docker"), Some((1000, 900, vec![900])));
        assert_eq!(of("4321:50"), Some((4321, 50, vec![50])));
        assert_eq!(of(":kvm"), Some((0, 77, vec![77])));
        assert_eq!(of("dev:"), of("dev"));
        assert_eq!(of("dev:nosuch"), None);
    }

    #[test]
    fn an_unknown_name_is_nobody_and_root_exists_without_any_file() {
        assert_eq!(find(etc().path(), "dve"), None);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(find(empty.path(), "root").unwrap().uid, 0);
        assert_eq!(find(empty.path(), "dev"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_account_file_makes_the_parser_panic(text: String, name: String) {
            let _ = parse_passwd(&text, &name);
            let _ = parse_groups(&text, &name, 0);
        }
    }
}
