//! What the program with the most rights is made of. Adding a line is a decision with a written reason.

#[test]
fn the_helper_depends_on_these_and_on_nothing_else() {
    let manifest = include_str!("../Cargo.toml");
    let section = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<_> =
        section.lines().filter_map(|line| line.split(['.', ' ']).next()).filter(|n| !n.is_empty()).collect();
    assert_eq!(
        names,
        [
            "banger-protocol",
            "landlock",
            "lexopt",
            "libc",
            "netlink-packet-core",
            "netlink-packet-route",
            "netlink-sys",
            "rustix",
            "thiserror",
            "tracing",
            "tracing-subscriber",
        ]
    );
}
