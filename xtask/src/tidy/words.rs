//! Words that belong to somebody's machine and not to the project.
//!
//! A path of the checkout that slipped into a test works for exactly one person; an address of a package registry
//! in the sources is a second opinion on what `Cargo.lock`, the developer's cargo and the system's apt decide.

use super::Complaint;
use super::sources::Source;
use std::path::Path;

/// Files that cargo and its auditor own.
const MAY_NAME_REGISTRIES: &[&str] = &["Cargo.lock", "deny.toml"];

/// Put together so that this file does not contain them.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("deb", ".debian.org"),
    concat!("py", "pi.org"),
    concat!("registry", ".npmjs.org"),
    concat!("proxy", ".golang.org"),
    concat!("static", ".rust-lang.org"),
];

/// What must not be found in any source.
#[derive(Debug)]
pub(super) struct Strangers {
    paths: Vec<String>,
}

impl Strangers {
    /// The folders this checkout and this toolchain lie in, unless they are such as could mean any machine.
    pub(super) fn of_this_machine(root: &Path) -> Self {
        let toolchain = ["CARGO_HOME", "RUSTUP_HOME"].into_iter().filter_map(|name| std::env::var(name).ok());
        let paths = std::iter::once(root.display().to_string()).chain(toolchain);
        Self { paths: paths.filter(|path| path.matches('/').count() >= 2).collect() }
    }

    pub(super) fn check(&self, source: &Source) -> Vec<Complaint> {
        let may_name_registries = MAY_NAME_REGISTRIES.contains(&source.path.as_str());
        let registries = REGISTRIES.iter().copied().filter(|_| !may_name_registries);
        let words: Vec<&str> = self.paths.iter().map(String::as_str).chain(registries).collect();
        let mut complaints = Vec::new();
        for (index, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                complaints.push(Complaint {
                    at: format!("{}:{}", source.path, index + 1),
                    what: format!("`{word}` belongs to a machine or a registry, not to the project"),
                });
            }
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers() -> Strangers {
        Strangers { paths: vec!["/home/jo/src/banger".to_owned()] }
    }

    #[test]
    fn a_path_of_the_checkout_is_found_in_any_kind_of_file() {
        for path in ["crates/x/src/a.rs", "docs/testing.md", ".ci/run", "Cargo.lock"] {
            let [found] = &strangers().check(&Source::new(path, "\nsee /home/jo/src/banger/x\n"))[..] else {
                panic!("{path} was not complained about once")
            };
            assert_eq!(found.at, format!("{path}:2"));
        }
    }

    #[test]
    fn a_registry_is_named_only_by_the_files_that_cargo_reads() {
        for registry in REGISTRIES {
            let line = format!("https://{registry}/a\n");
            assert_eq!(strangers().check(&Source::new("README.md", &line)).len(), 1);
            assert_eq!(strangers().check(&Source::new("Cargo.lock", &line)), []);
            assert_eq!(strangers().check(&Source::new("deny.toml", &line)), []);
        }
    }

    #[test]
    fn a_checkout_in_a_folder_that_could_mean_anything_is_not_looked_for() {
        assert!(!Strangers::of_this_machine(Path::new("/src")).paths.contains(&"/src".to_owned()));
        assert!(Strangers::of_this_machine(Path::new("/a/b")).paths.contains(&"/a/b".to_owned()));
    }
}
