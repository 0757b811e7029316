//! The machine as banger must leave it: what local mode promises not to touch, taken down and compared.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

use crate::Invocation;

/// Everything that could have been changed, each fact under the name it is reported by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    facts: BTreeMap<&'static str, String>,
}

/// Facts in `ip`'s JSON that count time or packets.
const RESTLESS: &[&str] = &["valid_life_time", "preferred_life_time", "expires", "stats64", "stats"];

impl Host {
    /// Takes down the machine as it is now.
    ///
    /// What this user may not read is taken down as the refusal; it may not change it either.
    #[must_use]
    pub fn look() -> Self {
        let facts = [
            ("interfaces", of_ip(&["link", "show"])),
            ("addresses", of_ip(&["address", "show"])),
            ("IPv4 routes", of_ip(&["-4", "route", "show", "table", "all"])),
            ("IPv6 routes", of_ip(&["-6", "route", "show", "table", "all"])),
            ("routing rules", of_ip(&["rule", "show"])),
            ("firewall", printed("nft", &["list", "ruleset"])),
            ("resolver", file("/etc/resolv.conf")),
            ("hosts", file("/etc/hosts")),
            ("forwarding", file("/proc/sys/net/ipv4/ip_forward")),
            ("mounts", mounts(&file("/proc/self/mounts"))),
            ("named network namespaces", listing("/run/netns")),
            ("block devices", listing("/sys/block")),
        ];
        Self { facts: facts.into_iter().collect() }
    }

    /// # Panics
    /// When anything is different from what it was, naming it with both.
    pub fn assert_same_as(&self, before: &Self) {
        let differences = self.differences(before);
        assert!(differences.is_empty(), "the host was changed\n{}", differences.join("\n"));
    }

    fn differences(&self, before: &Self) -> Vec<String> {
        let fact = |host: &Self, name: &str| host.facts.get(name).cloned().unwrap_or_default();
        self.facts
            .iter()
            .map(|(name, is)| (name, fact(before, name), is))
            .filter(|(_, was, is)| was != *is)
            .map(|(name, was, is)| format!("{name}\n  was: {was}\n  is:  {is}"))
            .collect()
    }
}

fn of_ip(arguments: &[&str]) -> String {
    let all: Vec<&str> = std::iter::once("-json").chain(arguments.iter().copied()).collect();
    at_rest(&printed("ip", &all))
}

/// Drops what changes by itself. What is no JSON is kept as it is.
fn at_rest(json: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
    calm(&mut value);
    value.to_string()
}

fn calm(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(calm),
        Value::Object(fields) => {
            fields.retain(|name, _| !RESTLESS.contains(&name.as_str()));
            fields.values_mut().for_each(calm);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(program)).find(|file| file.is_file());
    let found = found.unwrap_or_else(|| panic!("`{program}` is missing: `cargo xtask setup` installs it"));
    let finished = Invocation::new(&found, arguments).env("LC_ALL", "C").run();
    format!("{}{}", String::from_utf8_lossy(&finished.stdout), finished.stderr_text())
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

fn listing(path: &str) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return String::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names.join(" ")
}

/// Without the folders that come and go with other people's logins.
fn mounts(table: &str) -> String {
    let of_a_login = |line: &str| line.split(' ').nth(1).is_some_and(|at| at.starts_with("/run/user/"));
    table.lines().filter(|line| !of_a_login(line)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &'static str, fact: &str) -> Host {
        let mut host = Host::look();
        host.facts.insert(name, fact.to_owned());
        host
    }

    #[test]
    fn a_machine_that_nobody_touches_stays_the_same() {
        Host::look().assert_same_as(&Host::look());
    }

    #[test]
    fn every_planted_leak_is_named() {
        for (name, before, after) in [
            ("interfaces", r#"[{"ifname":"lo"}]"#, r#"[{"ifname":"lo"},{"ifname":"bt0123456789ab"}]"#),
            ("addresses", r#"[{"local":"10.0.0.2"}]"#, r#"[{"local":"172.16.0.1"}]"#),
            ("IPv4 routes", "[]", r#"[{"dst":"172.16.0.0/24"}]"#),
            ("firewall", "", "table inet banger {\n}\n"),
            ("resolver", "nameserver 10.0.0.1\n", "nameserver 172.16.0.1\n"),
            ("named network namespaces", "", "banger"),
            ("mounts", "", "/dev/loop0 /mnt ext4 rw 0 0\n"),
            ("block devices", "sda", "dm-0 sda"),
        ] {
            let differences = host(name, after).differences(&host(name, before));
            let [difference] = &differences[..] else { panic!("{name}: {differences:?}") };
            assert!(difference.starts_with(name), "{difference}");
        }
    }

    #[test]
    fn somebody_who_logs_in_changes_nothing() {
        let before = "proc /proc proc rw 0 0\n";
        let after = format!("{before}tmpfs /run/user/0 tmpfs rw 0 0\n");
        assert_eq!(mounts(&after), before);
    }

    #[test]
    fn time_passing_is_no_change_but_an_address_is() {
        let at = |life: u32, local: &str| {
            at_rest(&format!(r#"[{{"addr_info":[{{"local":"{local}","valid_life_time":{life}}}]}}]"#))
        };
        assert_eq!(at(80, "10.0.0.2"), at(79, "10.0.0.2"));
        assert_ne!(at(80, "10.0.0.2"), at(80, "10.0.0.3"));
    }
}
