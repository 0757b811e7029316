//! What is found out about a host before banger is installed on it: whose it shall be, which programs root may run, and
//! which addresses are taken.

use crate::tool::{NotInstalled, Tool};
use banger_system::{Network, Owner, trust};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where programs that root runs are looked for, whatever the caller's PATH says.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    #[error("the owner is unknown: pass --owner, or run it with sudo")]
    Unnamed,
    #[error(transparent)]
    NoGetent(NotInstalled),
    #[error("the user `{0}` was not looked up")]
    Look(String, #[source] std::io::Error),
    #[error("user `{0}` not found")]
    Nobody(String),
    #[error("root cannot be the owner: guests run for an ordinary user")]
    Root,
}

/// The user of this name, or the one who called sudo.
pub(crate) fn owner(named: Option<&str>) -> Result<Owner, OwnerError> {
    let sudo = std::env::var("SUDO_USER").ok();
    let name = named.or(sudo.as_deref()).ok_or(OwnerError::Unnamed)?.to_owned();
    let getent = Tool::find("getent").map_err(OwnerError::NoGetent)?;
    let output = getent.command().args(["passwd", "--", &name]).output();
    let output = output.map_err(|source| OwnerError::Look(name.clone(), source))?;
    let owner = parse_passwd(&String::from_utf8_lossy(&output.stdout)).ok_or(OwnerError::Nobody(name))?;
    if owner.uid == 0 { Err(OwnerError::Root) } else { Ok(owner) }
}

/// A line of passwd(5).
fn parse_passwd(line: &str) -> Option<Owner> {
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let [name, _, uid, gid, _, home, _] = fields.as_slice() else { return None };
    Some(Owner {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        name: (*name).to_owned(),
        home: Some(PathBuf::from(home)).filter(|home| home.is_absolute())?,
    })
}

/// A program that root may run.
#[derive(Debug)]
pub(crate) enum Found {
    Absent,
    Trusted(String),
    /// It is there, and somebody else than root could change it.
    Refused(trust::Untrusted),
}

pub(crate) fn program(name: &str) -> Found {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    match found.map(|path| (trust::check(&path), path)) {
        None => Found::Absent,
        Some((Ok(()), path)) => Found::Trusted(path.display().to_string()),
        Some((Err(error), _)) => Found::Refused(error),
    }
}

/// Where the host's routes lead, those over our own bridge aside.
pub(crate) fn routes(bridge: &str) -> Vec<Network> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default(), bridge)
}

/// Lines of `/proc/net/route`: interface, destination and mask in hexadecimal, each in the byte order of the machine
/// (`fib_route_seq_show` in net/ipv4/fib_trie.c).
fn parse_routes(table: &str, bridge: &str) -> Vec<Network> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |field: usize| u32::from_str_radix(fields.get(field)?, 16).ok().map(u32::from_be);
        let prefix = u8::try_from(number(7)?.count_ones()).ok()?;
        let network = Network { host: Ipv4Addr::from_bits(number(1)?), prefix };
        (fields.first() != Some(&bridge)).then_some(network)
    };
    table.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_where_they_lead_and_ours_is_none() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     br-banger\t000010AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\nshort\n";
        let found: Vec<String> = parse_routes(table, "br-banger").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["0.0.0.0/0", "10.0.2.0/24", "172.17.0.0/16"]);
    }

    #[test]
    fn a_user_is_a_line_of_passwd() {
        let owner = parse_passwd("dev:x:1000:100:Dev,,,:/home/dev:/bin/bash\n").unwrap();
        assert_eq!((owner.uid, owner.gid, owner.name.as_str()), (1000, 100, "dev"));
        for wrong in ["", "dev:x:1000", "dev:x:a:b::/home/dev:/bin/sh", "dev:x:1:1::home:/bin/sh"] {
            assert_eq!(parse_passwd(wrong), None, "{wrong}");
        }
    }
}
