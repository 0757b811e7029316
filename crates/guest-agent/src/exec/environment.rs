//! The environment a command starts with: that of a login, then what the image adds, then what the host adds.

use super::users::User;
use std::collections::BTreeMap;

const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

/// `etc_environment` is the text of `/etc/environment`; `added` has the last word.
pub(crate) fn of_login(
    user: &User,
    etc_environment: &str,
    image: &BTreeMap<String, String>,
    term: Option<&str>,
    added: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let path = if user.uid == 0 { ROOT_PATH } else { USER_PATH };
    let mut variables: BTreeMap<String, String> = [
        ("HOME", user.home.as_str()),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
        ("PATH", path),
        ("LANG", "C.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    variables.extend(etc_environment.lines().filter_map(assignment));
    variables.extend(image.clone());
    variables.extend(term.map(|term| ("TERM".to_owned(), term.to_owned())));
    variables.extend(added.clone());
    variables
}

/// One line as `pam_env` reads it: `NAME=value`, perhaps after `export`, perhaps quoted, `#` for a comment.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let well_formed = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let value = value.trim();
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value);
    (well_formed && !unquoted.contains('\0')).then(|| (name.to_owned(), unquoted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> User {
        User {
            name: "dev".into(),
            uid: 1000,
            gid: 1000,
            groups: vec![1000],
            home: "/home/dev".into(),
            shell: "/bin/zsh".into(),
        }
    }

    #[test]
    fn the_guest_may_change_the_path_and_the_host_has_the_last_word() {
        let added = BTreeMap::from([("LANG".to_owned(), "de_DE.UTF-8".to_owned())]);
        let image = ["EDITOR", "LANG"].map(|name| (name.to_owned(), "ed".to_owned())).into();
        let file = "# comment=1\nPATH=\"/opt/bin:/bin\"\nexport EDITOR='vi'\nbad name=1\nLANG=C\n";
        let variables = of_login(&dev(), file, &image, Some("xterm"), &added);
        let expected = [
            ("EDITOR", "ed"),
            ("HOME", "/home/dev"),
            ("LANG", "de_DE.UTF-8"),
            ("LOGNAME", "dev"),
            ("PATH", "/opt/bin:/bin"),
            ("SHELL", "/bin/zsh"),
            ("TERM", "xterm"),
            ("USER", "dev"),
        ];
        assert_eq!(variables, expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn without_a_terminal_there_is_no_term() {
        let variables = of_login(&dev(), "", &BTreeMap::new(), None, &BTreeMap::new());
        assert!(!variables.contains_key("TERM"));
        assert_eq!(variables["PATH"], USER_PATH);
    }
}
