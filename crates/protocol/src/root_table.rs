//! Everything that is done with privileges, on one screen, and what somebody who means harm would ask for.
//!
//! A row for each request of [`RootCall`], in its order: without one this does not build. `docs/root-api.md` is made of
//! them, and so are the calls with which the helper's tests try every parameter of every request.

use crate::root_api::RootCall;
use std::fmt::Write as _;

/// One request.
#[derive(Debug)]
pub struct Row {
    pub method: &'static str,
    pub parameters: &'static [(&'static str, Kind)],
    /// What comes along open.
    pub descriptors: &'static str,
    pub does: &'static str,
    /// By which checks it can do it to nothing else.
    pub only: &'static str,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Protocol,
    Operation,
    Barred,
    Vm,
    GuestAddress,
    Truth,
    Process,
    Signal,
    Program,
}

use Kind::{Barred, GuestAddress, Operation, Process, Program, Protocol, Signal, Truth, Vm};

const fn row(
    method: &'static str,
    parameters: &'static [(&'static str, Kind)],
    [descriptors, does, only]: [&'static str; 3],
) -> Row {
    Row { method, parameters, descriptors, does, only }
}

/// All of them.
pub const ROWS: [Row; RootCall::METHODS.len()] = [
    row(
        "version",
        &[("protocol", Protocol), ("operation", Operation)],
        ["none", "compares protocol versions", "the first request on every connection"],
    ),
    row(
        "network.ensure",
        &[("barred", Barred)],
        ["none", "sets up the bridge and the firewall", "names and range come from the installation"],
    ),
    row(
        "firewall.foreign",
        &[],
        ["none", "names chains of other firewalls that stop guests", "changes nothing"],
    ),
    row(
        "dns.listen",
        &[],
        ["two are returned", "opens two sockets for DNS", "on the bridge's address and one port"],
    ),
    row(
        "tap.create",
        &[("vm", Vm), ("address", GuestAddress), ("nat", Truth)],
        [
            "none",
            "creates a VM's tap; with `nat`, adds the rules again that `system install --firewall docker` added",
            "name from the ID; the address is a guest address of the range; an existing link of that name is a tap",
        ],
    ),
    row("tap.delete", &[("vm", Vm)], ["none", "deletes a VM's tap", "name from the ID; it is a tap"]),
    row(
        "snapshot.create",
        &[("vm", Vm)],
        [
            "image, changes",
            "creates a VM's block device",
            "name and UUID from the ID; regular files of the owner, opened with the access they need, used by no other disk",
        ],
    ),
    row(
        "snapshot.delete",
        &[("vm", Vm)],
        ["none", "deletes a VM's block device", "name and UUID from the ID"],
    ),
    row(
        "process.start",
        &[("vm", Vm), ("program", Program)],
        [
            "directory, kernel, initrd, disks",
            "starts Firecracker, QEMU, or its vsock backend, confined and as the VM's own user",
            "programs come from the installation; the directory and its files belong to the owner or the VM, have no hard links, and are not symlinks",
        ],
    ),
    row(
        "process.signal",
        &[("vm", Vm), ("process", Process), ("signal", Signal)],
        [
            "none",
            "sends a signal to one of a VM's processes",
            "identified by pid and start time, and in the VM's scope; four signals",
        ],
    ),
    row(
        "process.kill_all",
        &[("vm", Vm)],
        ["none", "kills a VM's processes", "only those in the VM's scopes"],
    ),
    row("inventory", &[], ["none", "lists what the helper holds", "changes nothing"]),
    row("shutdown", &[], ["none", "stops the helper", "only in local mode"]),
];

const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(same(ROWS[at].method, RootCall::METHODS[at]), "a row is not of the request at its place");
        at += 1;
    }
};

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl Kind {
    /// A value as JSON that is in order.
    #[must_use]
    pub const fn harmless(self) -> &'static str {
        match self {
            Protocol => "1",
            Operation | Vm => r#""00000000c0de""#,
            Barred => "[]",
            GuestAddress => r#""172.16.0.9""#,
            Truth => "false",
            Process => r#"{"pid":4194300,"start_time":1}"#,
            Signal => r#""continue""#,
            Program => r#""vsock_backend""#,
        }
    }

    /// Values as JSON by which nothing must ever happen.
    #[must_use]
    pub const fn hostile(self) -> &'static [&'static str] {
        match self {
            Protocol => &["0", "-1", "999999", "4294967296", "1.5", r#""1""#, "null", "[1]"],
            Operation => &[r#""""#, r#""../../x""#, "1", "[]", "{}", r#""a\nlevel=error""#],
            Barred => &[
                r#"["::1"]"#,
                r#"["172.16.0"]"#,
                r#"["1.2.3.4; flush ruleset"]"#,
                "[1]",
                "null",
                r#""8.8.8.8""#,
            ],
            Vm => &[
                r#""""#,
                r#""..""#,
                r#""/""#,
                r#""../../../etc""#,
                r#""0123456789a""#,
                r#""0123456789abc""#,
                r#""0123456789AB""#,
                r#""0123456789a/""#,
                r#""0123456789a\u0000""#,
                r#""0123456789ab\n""#,
                r#"" 0123456789a""#,
                r#""０１２３４５６７８９０１""#,
                r#""br-banger""#,
                r#""control""#,
                "123456789012",
                "null",
                r#"["0123456789ab"]"#,
                r#"{"id":"0123456789ab"}"#,
            ],
            GuestAddress => &[
                r#""0.0.0.0""#,
                r#""255.255.255.255""#,
                r#""127.0.0.1""#,
                r#""224.0.0.1""#,
                r#""169.254.169.254""#,
                r#""172.16.0.0""#,
                r#""172.16.0.1""#,
                r#""172.16.0.255""#,
                r#""172.16.1.2""#,
                r#""10.0.0.2""#,
                r#""8.8.8.8""#,
                r#""::1""#,
                r#""172.16.0.2/24""#,
                r#""172.16.0.2 accept""#,
                r#""172.16.0.300""#,
                "2886729730",
                "null",
            ],
            Truth => &["1", "0", r#""true""#, "null", "[]", "{}"],
            Process => &[
                r#"{"pid":0,"start_time":0}"#,
                r#"{"pid":1,"start_time":0}"#,
                r#"{"pid":4294967295,"start_time":0}"#,
                r#"{"pid":-1,"start_time":0}"#,
                r#"{"pid":1.0,"start_time":0}"#,
                r#"{"pid":"1","start_time":"0"}"#,
                r#"{"pid":1}"#,
                r#"{"pid":1,"start_time":0,"uid":0}"#,
                "1",
                "[1,0]",
                "null",
            ],
            Signal => &[r#""""#, r#""KILL""#, r#""hup""#, r#""usr1""#, "9", "-9", "null", r#"["kill"]"#],
            Program => &[
                r#""/bin/sh""#,
                r#""sh""#,
                r#"{"path":"/bin/sh"}"#,
                r#"{"vsock_backend":{"program":"/bin/sh"}}"#,
                r#"{"qemu":{}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[],"jailer":false}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[],"uid":0}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[{"role":"root","source":"/dev/vda"}]}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[{"role":"work","source":"snapshot"}]}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[{"role":"root","source":"descriptor"}]}}"#,
                r#"{"firecracker":{"vcpu":1,"memory":268435456,"disks":[{"role":"../x","source":"folder"}]}}"#,
                r#"{"firecracker":{"vcpu":-1,"memory":268435456,"disks":[]}}"#,
                r#"{"qemu":{},"firecracker":{}}"#,
                "null",
                "[]",
            ],
        }
    }
}

impl Row {
    /// The request's parameters as JSON, one of them with this value instead of a harmless one.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> String {
        let field = |(field, kind): &(&str, Kind)| {
            let value = if *field == name { value } else { kind.harmless() };
            format!("{field:?}:{value}")
        };
        let fields: Vec<String> = self.parameters.iter().map(field).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// Parameters that no request takes, whatever it is.
    #[must_use]
    pub fn misshapen(&self) -> Vec<String> {
        let good = self.with("", "");
        let inner = good.trim_matches(['{', '}']);
        let comma = if inner.is_empty() { "" } else { "," };
        let mut all: Vec<String> = ["null", "[]", "1", r#""x""#, "true"].map(str::to_owned).to_vec();
        all.push(format!("[{good}]"));
        all.extend([r#""path":"/etc/shadow""#, r#""uid":0"#].map(|more| format!("{{{inner}{comma}{more}}}")));
        if let Some((first, kind)) = self.parameters.first() {
            all.push("{}".to_owned());
            all.push(format!("{{{inner},{first:?}:{}}}", kind.harmless()));
        }
        all
    }
}

/// `docs/root-api.md`.
#[must_use]
pub fn page() -> String {
    let mut page = "# Privileged operations\n\n\
        These are all requests that `bangerd-root` accepts. It serves only root and the owner of the installation. In \
        local\nmode it is not root, and its effects stay in namespaces of its own. No request contains a path, a name, or \
        a command.\nThe table is generated from `crates/protocol/src/root_table.rs`.\n\n\
        | request | parameters | descriptors | effect | restrictions |\n|---|---|---|---|---|\n"
        .to_owned();
    for Row { method, parameters, descriptors, does, only } in &ROWS {
        let names: Vec<_> = parameters.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{method}` | {names} | {descriptors} | {does} | {only} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/root-api.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/root-api.md is not what the table says:\n{}", page());
    }

    #[test]
    fn harmless_values_are_understood_and_misshapen_ones_are_not() {
        for row in &ROWS {
            let good = row.with("", "");
            assert!(RootCall::parse(row.method, &good).is_ok(), "{}: {good}", row.method);
            for wrong in row.misshapen().iter().filter(|wrong| *wrong != "[]" && !wrong.starts_with('[')) {
                // A request whose every parameter has a default takes none as well.
                if wrong != "{}" {
                    assert!(RootCall::parse(row.method, wrong).is_err(), "{}: {wrong}", row.method);
                }
            }
        }
    }
}
