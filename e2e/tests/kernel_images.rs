//! What an image is, as the kernel sees it, compared with what `umoci` makes of the same layers as root.

use banger_e2e::{Debian, Sandbox};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where an image is not its layers: the agent with its unit and a mount point that are put in, what must differ between
/// machines, and what every file system has.
const OURS: [&str; 8] = [
    "/usr/lib/banger",
    "/usr/lib/systemd/system/banger-vsock-agent.service ",
    "/usr/lib/systemd/system/multi-user.target.wants/banger-vsock-agent.service ",
    "/usr/lib/modules ",
    "/etc/machine-id ",
    "/etc/ssh/ssh_host_",
    "/lost+found ",
    "/root/lost+found ",
];

#[test]
fn the_image_of_a_debian_in_layers_is_what_umoci_unpacks_as_root() {
    let sandbox = Sandbox::with_fake_guests();
    let debian = Debian::wished();
    let image = format!("{}:v1", debian.layout(&sandbox).display());
    let pull = ["image", "pull", &format!("oci:{image}"), "--name", "layered"];
    let _ = sandbox.banger(pull).limit(Duration::from_secs(600)).run().expect_success();
    let shown = sandbox.json(&["image", "show", "layered"]);
    let rootfs = shown["rootfs_path"].as_str().expect("an image has a root file system");
    let _ = sandbox.tool("e2fsck", ["-fn", rootfs]).limit(Duration::from_secs(300)).run().expect_success();

    let mounted = sandbox.home().join("mounted");
    std::fs::create_dir(&mounted).expect("the sandbox is writable");
    let seed = rootfs.replace("rootfs.ext4", "work-seed.ext4");
    let unpacked = sandbox.home().join("unpacked").display().to_string();
    let ours = list_as_root(&sandbox, &["image", rootfs, &seed, &mounted.display().to_string()]);
    let theirs = list_as_root(&sandbox, &["layout", &image, &unpacked]);

    assert!(ours.len() > if debian == Debian::Large { 50_000 } else { 5_000 }, "{} names", ours.len());
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differing: Vec<String> = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| format!("ours:   {:?}\ntheirs: {:?}\n", ours.get(name), theirs.get(name)))
        .collect();
    let shown = &differing[..differing.len().min(20)];
    assert!(differing.is_empty(), "{} of {} names differ\n{}", differing.len(), ours.len(), shown.concat());
}

/// What `list-tree` says of each name.
fn list_as_root(sandbox: &Sandbox, words: &[&str]) -> BTreeMap<String, String> {
    let lister = sandbox.programs().join("list-tree").display().to_string();
    let as_root: &[&str] = if rustix::process::geteuid().is_root() { &["env"] } else { &["sudo", "-n"] };
    let words = as_root[1..].iter().copied().chain([&*lister]).chain(words.iter().copied());
    let listed = sandbox.tool(as_root[0], words).limit(Duration::from_secs(600)).run().expect_success();
    let lines = listed.stdout_text().lines().filter_map(|line| line.split_once(" mode="));
    let named = lines.map(|(name, rest)| (name.to_owned(), format!("{name} mode={rest}")));
    named.filter(|(name, _)| !OURS.iter().any(|ours| name.starts_with(ours))).collect()
}
