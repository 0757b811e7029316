//! What other firewalls of the host would do to a guest's packets. Looked at and never touched.
//!
//! What one chain of a hook accepts the next may still drop: a drop is final, whatever the priority. So each of the
//! others is asked by itself about two packets, the first of a connection out of the bridge and an answer back in,
//! as nft tells its rules. What a rule looks at beside interfaces and the connection's state is not known of a packet
//! that nobody has sent yet; such a rule is taken to be about others, unless it names our bridge.

use crate::tool::Tool;
use banger_protocol::root_api::{ForeignChain, ForeignKind, Settings};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// Our own tables.
const OURS: &str = "banger";
/// Far more than it takes to tell the longest rules that are understood.
const LIMIT: Duration = Duration::from_secs(10);
/// Chains that lead to each other deeper than the kernel lets them (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: u32 = 16;

/// The chains that let no guest out, or no answer in.
pub(crate) fn closed(settings: &Settings) -> io::Result<Vec<ForeignChain>> {
    let Some(nft) = settings.nft.as_deref() else { return Ok(Vec::new()) };
    let rules: Value = serde_json::from_slice(&list(nft)?)?;
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    Ok(judge(&rules, &settings.bridge, uplink(&routes)))
}

/// Whether the kernel's older packet filter has a table through which guests' packets go. nft shows nothing of what is in it.
pub(super) fn is_filtered_unseen() -> bool {
    names_a_filter(&std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default())
}

/// Pure.
fn names_a_filter(tables: &str) -> bool {
    tables.lines().any(|table| table == "filter")
}

/// All rules and no named sets: blocklists with a million elements are common, and no rule is judged by one.
fn list(nft: &str) -> io::Result<Vec<u8>> {
    Tool { path: nft, limit: LIMIT }.answer(&["-j", "-t", "list", "ruleset"])
}

/// The interface of the first route to everywhere, of lines of `/proc/net/route`.
fn uplink(routes: &str) -> &str {
    let to_everywhere = |line: &&str| line.split_ascii_whitespace().nth(1) == Some("00000000");
    let line = routes.lines().skip(1).find(to_everywhere).unwrap_or_default();
    line.split_ascii_whitespace().next().unwrap_or_default()
}

/// A packet that nobody has sent.
#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    bridge: &'a str,
    from: &'a str,
    to: &'a str,
    /// As nft calls it.
    state: &'a str,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    /// The chain has nothing to say.
    Returned,
}

/// Pure.
fn judge(rules: &Value, bridge: &str, uplink: &str) -> Vec<ForeignChain> {
    let out = Packet { bridge, from: bridge, to: uplink, state: "new" };
    let back = Packet { bridge, from: uplink, to: bridge, state: "established" };
    let objects = || rules["nftables"].as_array().into_iter().flatten();
    let bases = objects().filter_map(|object| object.get("chain")).filter(|chain| {
        chain["hook"] == "forward"
            && chain["table"] != OURS
            && ["ip", "inet"].iter().any(|f| chain["family"] == *f)
    });
    let closed = bases.filter_map(|chain| {
        let [family, table, name] =
            ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or_default());
        let ruleset = Ruleset { rules, family, table };
        let passes = |packet| match ruleset.walk(name, packet, 0) {
            Fate::Accepted => true,
            Fate::Dropped => false,
            Fate::Returned => chain["policy"] != "drop",
        };
        if passes(out) && passes(back) {
            return None;
        }
        let has = |wanted: &str| {
            objects()
                .filter_map(|object| object.get("chain"))
                .any(|chain| chain["table"] == table && chain["family"] == family && chain["name"] == wanted)
        };
        let kind = match table {
            "firewalld" => ForeignKind::Firewalld,
            _ if has("DOCKER-USER") => ForeignKind::Docker,
            _ => ForeignKind::Other,
        };
        let owned = str::to_owned;
        Some(ForeignChain { family: owned(family), table: owned(table), chain: owned(name), kind })
    });
    closed.collect()
}

/// The rules of one table.
#[derive(Clone, Copy)]
struct Ruleset<'a> {
    rules: &'a Value,
    family: &'a str,
    table: &'a str,
}

impl Ruleset<'_> {
    fn walk(self, chain: &str, packet: Packet<'_>, depth: u32) -> Fate {
        if depth > DEEPEST {
            return Fate::Returned;
        }
        let objects = self.rules["nftables"].as_array().into_iter().flatten();
        let ours = |rule: &&Value| {
            rule["family"] == self.family && rule["table"] == self.table && rule["chain"] == chain
        };
        for rule in objects.filter_map(|object| object.get("rule")).filter(ours) {
            let expressions = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            if !matches(expressions, packet) {
                continue;
            }
            for expression in expressions {
                let target = |verb: &str| expression[verb]["target"].as_str();
                let fate = match expression.as_object().and_then(|one| one.keys().next()).map(String::as_str)
                {
                    Some("accept") => Fate::Accepted,
                    Some("drop" | "reject") => Fate::Dropped,
                    Some("return") => return Fate::Returned,
                    Some("jump") => self.walk(target("jump").unwrap_or_default(), packet, depth + 1),
                    Some("goto") => return self.walk(target("goto").unwrap_or_default(), packet, depth + 1),
                    _ => continue,
                };
                if fate != Fate::Returned {
                    return fate;
                }
            }
        }
        Fate::Returned
    }
}

/// Whether a rule is about a packet.
fn matches(expressions: &[Value], packet: Packet<'_>) -> bool {
    let known: Vec<Option<bool>> = expressions.iter().filter_map(|one| condition(one, packet)).collect();
    let names_us = |one: &Value| one.pointer("/match/right").is_some_and(|right| holds(right, packet.bridge));
    let about_us = expressions.iter().any(names_us);
    known.into_iter().all(|condition| condition.unwrap_or(about_us))
}

/// Of an expression that is one, whether it is met; `None` within where nobody can know.
fn condition(expression: &Value, packet: Packet<'_>) -> Option<Option<bool>> {
    if let Some(extension) = expression.get("xt") {
        // How `iptables` has nft keep what nft has no words for.
        return match extension["name"].as_str() {
            Some("comment") => None,
            Some("conntrack") => Some((packet.state == "established").then_some(true)),
            _ => Some(None),
        };
    }
    let Some(found) = expression.get("match") else {
        // What limits, only looks or leads on by a table of its own.
        let decides = ["vmap", "limit", "fib"].iter().any(|word| expression.get(word).is_some());
        return decides.then_some(None);
    };
    let (left, right) = (&found["left"], &found["right"]);
    let met = match (
        left.pointer("/meta/key").and_then(Value::as_str),
        left.pointer("/ct/key").and_then(Value::as_str),
    ) {
        (Some("iifname" | "iif"), _) => Some(holds(right, packet.from)),
        (Some("oifname" | "oif"), _) => Some(holds(right, packet.to)),
        (_, Some("state")) => Some(holds(right, packet.state)),
        _ => None,
    };
    let negated = found["op"] == "!=";
    Some(met.map(|met| met != negated))
}

/// Whether a value is this word, or has it among others.
fn holds(value: &Value, word: &str) -> bool {
    match value {
        Value::String(pattern) => match pattern.strip_suffix('*') {
            Some(beginning) => word.starts_with(beginning),
            None => pattern == word,
        },
        Value::Array(all) => all.iter().any(|one| holds(one, word)),
        Value::Object(fields) => fields.get("set").is_some_and(|set| holds(set, word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_the_older_kind_is_known_by_its_table() {
        assert!(names_a_filter("nat\nfilter\n"));
        for none in ["", "nat\nmangle\n"] {
            assert!(!names_a_filter(none));
        }
    }

    /// Rules in nft's own words, of one table with a chain on the hook.
    fn ruleset(table: &str, policy: &str, rules: &[(&str, &str)]) -> Value {
        let base = serde_json::json!({"chain": {"family": "ip", "table": table, "name": "FORWARD", "hook": "forward",
            "prio": 0, "policy": policy}});
        let rule = |(chain, expressions): &(&str, &str)| {
            let expr: Value = serde_json::from_str(expressions).expect(expressions);
            serde_json::json!({"rule": {"family": "ip", "table": table, "chain": chain, "expr": expr}})
        };
        let chains = ["DOCKER-USER", "other"]
            .map(|name| serde_json::json!({"chain": {"family": "ip", "table": table, "name": name}}));
        let named =
            chains.into_iter().filter(|chain| rules.iter().any(|(name, _)| chain["chain"]["name"] == *name));
        let all: Vec<Value> = std::iter::once(base).chain(named).chain(rules.iter().map(rule)).collect();
        serde_json::json!({ "nftables": all })
    }

    const IN: &str = r#"[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"br-x"}},{"counter":{}},{"accept":null}]"#;
    const OUT: &str = r#"[{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"br-x"}},{"xt":{"type":"match","name":"comment"}},{"accept":null}]"#;
    const ANSWERS: &str = r#"[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}]"#;
    const JUMP: &str = r#"[{"counter":{}},{"jump":{"target":"DOCKER-USER"}}]"#;
    const REJECT: &str = r#"[{"counter":{}},{"reject":{"type":"icmpx"}}]"#;
    const OTHERS: &str =
        r#"[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"docker0"}},{"drop":null}]"#;
    const INVALID: &str =
        r#"[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}},{"drop":null}]"#;
    const SOURCE: &str = r#"[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}},{"drop":null}]"#;
    const ALL: &str = r#"[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":{"set":["br-*","eth1"]}}},{"accept":null}]"#;
    const BY_MAP: &str = r#"[{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{}}}]"#;

    #[test]
    fn a_chain_stops_guests_when_it_drops_the_first_packet_or_the_answer() {
        type Rules = &'static [(&'static str, &'static str)];
        let table: [(&str, Rules, bool); 14] = [
            ("accept", &[], false),
            ("drop", &[], true),
            ("accept", &[("FORWARD", REJECT)], true),
            ("accept", &[("FORWARD", OTHERS), ("FORWARD", INVALID), ("FORWARD", SOURCE)], false),
            ("drop", &[("FORWARD", IN)], true),
            ("drop", &[("FORWARD", IN), ("FORWARD", OUT)], false),
            ("drop", &[("FORWARD", ANSWERS), ("FORWARD", IN)], false),
            ("drop", &[("FORWARD", REJECT), ("FORWARD", IN), ("FORWARD", OUT)], true),
            ("drop", &[("FORWARD", JUMP), ("DOCKER-USER", IN), ("DOCKER-USER", OUT)], false),
            ("drop", &[("FORWARD", JUMP), ("DOCKER-USER", IN)], true),
            ("drop", &[("other", IN), ("other", OUT)], true),
            ("drop", &[("FORWARD", ANSWERS), ("FORWARD", ALL)], false),
            ("drop", &[("FORWARD", BY_MAP)], true),
            ("drop", &[("FORWARD", r#"[{"jump":{"target":"FORWARD"}}]"#)], true),
        ];
        for (policy, rules, stops) in table {
            let found = judge(&ruleset("filter", policy, rules), "br-x", "eth0");
            assert_eq!(!found.is_empty(), stops, "{policy} {rules:?}: {found:?}");
        }
    }

    #[test]
    fn whose_chain_it_is_decides_what_can_be_done() {
        let kind = |table: &str, rules: &[(&str, &str)]| {
            judge(&ruleset(table, "drop", rules), "br-x", "eth0")[0].kind
        };
        assert_eq!(kind("filter", &[]), ForeignKind::Other);
        assert_eq!(kind("filter", &[("DOCKER-USER", REJECT)]), ForeignKind::Docker);
        assert_eq!(kind("firewalld", &[]), ForeignKind::Firewalld);
        assert!(judge(&ruleset("banger", "drop", &[]), "br-x", "eth0").is_empty(), "ours is not foreign");
        for nonsense in
            [serde_json::json!({}), serde_json::json!([1]), serde_json::json!({"nftables": [{"chain": 1}]})]
        {
            assert!(judge(&nonsense, "br-x", "eth0").is_empty());
        }
    }

    #[test]
    fn sets_are_not_asked_for() {
        let asked = list("/bin/echo").unwrap();
        assert_eq!(String::from_utf8_lossy(&asked), "-j -t list ruleset\n");
    }

    #[test]
    fn the_way_out_is_the_route_to_everywhere() {
        let table =
            "Iface\tDestination\tGateway\neth1\t000010AC\t0\nens4\t00000000\t0202000A\neth2\t00000000\t0\n";
        assert_eq!(uplink(table), "ens4");
        assert_eq!(uplink("Iface\tDestination\n"), "");
    }
}
