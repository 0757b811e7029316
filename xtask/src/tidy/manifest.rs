//! Every crate takes its lints from the workspace: a crate that forgot to is linted by nobody.

use super::Complaint;
use super::sources::Source;

pub(super) fn check(source: &Source) -> Vec<Complaint> {
    let is_a_crate = source.file_name() == "Cargo.toml" && section(&source.text, "package").is_some();
    let inherits = section(&source.text, "lints").is_some_and(|lines| lines.contains(&"workspace = true"));
    if is_a_crate && !inherits {
        let what = "does not inherit the workspace's lints: add `[lints]` with `workspace = true`";
        return vec![Complaint { at: source.path.clone(), what: what.to_owned() }];
    }
    Vec::new()
}

/// The lines of one `[section]`.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let head = format!("[{name}]");
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != head);
    lines.next()?;
    Some(lines.take_while(|line| !line.starts_with('[')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_workspace_s_lints_is_found() {
        let without = Source::new("crates/x/Cargo.toml", "[package]\nname = \"x\"\n");
        assert_eq!(check(&without).len(), 1);
        let elsewhere = Source::new(
            "crates/x/Cargo.toml",
            "[package]\nname = \"x\"\n[lints]\n[other]\nworkspace = true\n",
        );
        assert_eq!(check(&elsewhere).len(), 1);
    }

    #[test]
    fn a_crate_with_them_and_the_workspace_itself_are_fine() {
        let with =
            Source::new("crates/x/Cargo.toml", "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n");
        assert_eq!(check(&with), []);
        assert_eq!(check(&Source::new("Cargo.toml", "[workspace]\nmembers = []\n")), []);
    }
}
