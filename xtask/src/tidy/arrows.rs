//! Which crate may know which.
//!
//! The picture is in ARCHITECTURE.md; this is the same picture as a table. Crates go by their folder. Only what a
//! crate ships with is looked at: its tests may use more. tokio is kept to the daemon and its client of Firecracker
//! by the same table, looked for at any depth, because a library that brings it along brings its threads along.

use super::Complaint;

/// Every crate with everything it links, one package a line, depth first.
pub(super) const TREE: &[&str] = &[
    "tree",
    "--quiet",
    "--workspace",
    "--edges",
    "normal,build",
    "--prefix",
    "depth",
    "--no-dedupe",
    "--format",
    " {p}",
];

/// Who may know whom. A crate that is not in here is refused until somebody decides.
const ARROWS: &[(&str, &[&str])] = &[
    ("crates/protocol", &[]),
    ("crates/config", &["crates/protocol"]),
    ("crates/copy", &["crates/protocol"]),
    ("crates/image", &["crates/protocol"]),
    ("crates/oci", &["crates/protocol"]),
    ("crates/guest-agent", &["crates/protocol", "crates/copy"]),
    ("crates/system", &["crates/protocol"]),
    ("crates/root-helper", &["crates/protocol", "crates/system"]),
    ("crates/cli", &["crates/protocol", "crates/config", "crates/copy", "crates/oci", "crates/system"]),
    ("crates/firecracker", &[]),
    ("crates/fuzz", &[]),
    (
        "crates/daemon",
        &["crates/protocol", "crates/config", "crates/image", "crates/firecracker", "crates/system"],
    ),
    ("crates/fakes", &["crates/protocol", "crates/copy", "crates/guest-agent"]),
    ("bench", &["crates/protocol", "crates/image", "e2e"]),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// The crate that waits for many things at once, and the client that it does so with; and the client of registries,
/// which waits for several layers at once on one thread of its own, with the program that calls it and blocks.
const ASYNC: &[&str] = &["crates/daemon", "crates/firecracker", "crates/oci", "crates/cli"];
const RUNTIME: &str = "tokio";

/// A crate of ours and everything it links.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crate {
    folder: String,
    /// Folders of ours that it names itself.
    knows: Vec<String>,
    /// Packages it links, at any depth.
    links: Vec<String>,
}

/// Reads the output of [`TREE`].
pub(super) fn parse(tree: &str) -> Vec<Crate> {
    let mut crates: Vec<Crate> = Vec::new();
    let mut root = None;
    for line in tree.lines() {
        let Some((depth, package)) = line.split_once(' ') else { continue };
        let folder = folder_in_checkout(package, root.as_deref());
        match (depth, crates.last_mut()) {
            ("0", _) => {
                // The workspace's folder is what all members' paths have before `/crates/`, `/bench` and so on.
                root = root.or_else(|| workspace_folder(package));
                let folder = folder_in_checkout(package, root.as_deref());
                let folder = folder.unwrap_or_else(|| package.to_owned());
                crates.push(Crate { folder, knows: Vec::new(), links: Vec::new() });
            }
            (depth, Some(current)) => {
                current.links.extend(package.split(' ').next().map(str::to_owned));
                current.knows.extend(folder.filter(|_| depth == "1"));
            }
            (_, None) => {}
        }
    }
    crates
}

/// The path that cargo prints behind a package it did not download: `name v0.1.0 (/somewhere/crates/name)`.
fn path(package: &str) -> Option<&str> {
    let (_, rest) = package.split_once(" (/")?;
    rest.split(')').next()
}

fn workspace_folder(package: &str) -> Option<String> {
    let path = path(package)?;
    let end = ["/crates/", "/bench", "/e2e", "/xtask"].iter().find_map(|member| path.rfind(member))?;
    Some(path[..end].to_owned())
}

fn folder_in_checkout(package: &str, root: Option<&str>) -> Option<String> {
    Some(path(package)?.strip_prefix(root?)?.trim_start_matches('/').to_owned())
}

pub(super) fn check(crates: &[Crate]) -> Vec<Complaint> {
    crates.iter().flat_map(check_crate).collect()
}

fn check_crate(krate: &Crate) -> Vec<Complaint> {
    let complaint = |what: String| Complaint { at: format!("{}/Cargo.toml", krate.folder), what };
    let Some((_, allowed)) = ARROWS.iter().find(|(folder, _)| *folder == krate.folder) else {
        return vec![complaint("is not in the picture of crates: decide who it may know".to_owned())];
    };
    let mut complaints: Vec<Complaint> = krate
        .knows
        .iter()
        .filter(|known| !allowed.contains(&known.as_str()))
        .map(|known| complaint(format!("must not know {known}")))
        .collect();
    if krate.links.iter().any(|package| package == RUNTIME) && !ASYNC.contains(&krate.folder.as_str()) {
        complaints.push(complaint(format!("links {RUNTIME}: everything but the daemon is blocking code")));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIDY: &str = "\
0 banger-cli v0.1.0 (/src/a/crates/cli)
1 banger-protocol v0.1.0 (/src/a/crates/protocol)
2 serde v1.0.2
1 clap v4.6.1
0 banger-daemon v0.1.0 (/src/a/crates/daemon)
1 banger-image v0.1.0 (/src/a/crates/image)
2 banger-protocol v0.1.0 (/src/a/crates/protocol)
1 tokio v1.54.0
0 xtask v0.1.0 (/src/a/xtask)
1 anyhow v1.0.1
";

    fn whats(tree: &str) -> Vec<String> {
        check(&parse(tree)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_crates_in_the_picture_are_fine() {
        assert_eq!(whats(TIDY), [""; 0]);
    }

    #[test]
    fn an_arrow_that_is_not_in_the_picture_is_found() {
        let tree = TIDY.replace("1 clap v4.6.1", "1 banger-image v0.1.0 (/src/a/crates/image)");
        assert_eq!(whats(&tree), ["crates/cli/Cargo.toml: must not know crates/image"]);
    }

    #[test]
    fn the_runtime_outside_the_daemon_is_found_at_any_depth() {
        for depth in [1, 4] {
            let tree = format!("{TIDY}0 banger-copy v0.1.0 (/src/a/crates/copy)\n{depth} tokio v1.54.0\n");
            assert_eq!(
                whats(&tree),
                ["crates/copy/Cargo.toml: links tokio: everything but the daemon is blocking code"]
            );
        }
    }

    #[test]
    fn a_crate_nobody_decided_about_is_found() {
        let tree = format!("{TIDY}0 banger-extra v0.1.0 (/src/a/crates/extra)\n");
        assert_eq!(
            whats(&tree),
            ["crates/extra/Cargo.toml: is not in the picture of crates: decide who it may know"]
        );
    }
}
