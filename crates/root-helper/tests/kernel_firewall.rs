//! What guests send, as frames written to their taps, and what becomes of it.

mod harness;

use banger_protocol::root_api::{DNS_PORT, InventoryRequest, NetworkEnsure, TapCreate, TapDelete};
use banger_protocol::wire::ErrorKind;
use harness::frame::{self, EVERYBODY, Packet, arp, echo, ethernet, ipv4, syn, udp};
use harness::wire::{BRIDGE, Guest, Network, UPLINK, World};
use harness::{Nft, Start, folder, refusal, script, tap};
use std::net::Ipv4Addr;

const NOTHING: [Vec<u8>; 0] = [];
const SOMEBODY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 77);
const STRANGER: [u8; 6] = [0x02, 0xfc, 172, 16, 0, 77];
/// A documentation address (RFC 5737).
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// Frames that nobody may send, each of which the host would otherwise get.
fn lies(guest: &Guest) -> Vec<(&'static str, Vec<u8>)> {
    let (mac, own, bridge) = (guest.mac, guest.address, guest.bridge);
    let to_host = |from, ethertype, content: &[u8]| ethernet(bridge, from, ethertype, content);
    let arp_from = |from, packet: &[u8]| ethernet(EVERYBODY, from, frame::ARP, packet);
    let nobody = [0; 6];
    // `ff02::1`, all nodes; type 134, router lifetime 1800 s.
    let advertisement = [
        &[0x60, 0, 0, 0, 0, 16, 58, 255][..],
        &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let tagged = [&[0, 7][..], &frame::IPV4.to_be_bytes(), &echo(own, BRIDGE, 7)].concat();
    let mut strange_arp = arp(1, (mac, own), (nobody, BRIDGE));
    strange_arp[4] = 8;
    vec![
        ("another's MAC", to_host(STRANGER, frame::IPV4, &echo(own, BRIDGE, 1))),
        ("another's address", to_host(mac, frame::IPV4, &echo(SOMEBODY, BRIDGE, 2))),
        ("another's MAC and address", to_host(STRANGER, frame::IPV4, &echo(SOMEBODY, BRIDGE, 3))),
        ("the host's address", to_host(mac, frame::IPV4, &echo(BRIDGE, BRIDGE, 4))),
        ("no address", to_host(mac, frame::IPV4, &echo(Ipv4Addr::UNSPECIFIED, BRIDGE, 5))),
        ("the loopback's address", to_host(mac, frame::IPV4, &echo(Ipv4Addr::LOCALHOST, BRIDGE, 6))),
        ("half a packet", to_host(mac, frame::IPV4, &echo(own, BRIDGE, 6)[..14])),
        ("ARP for another's address", arp_from(mac, &arp(2, (mac, SOMEBODY), (nobody, BRIDGE)))),
        ("ARP for the host's address", arp_from(mac, &arp(2, (mac, BRIDGE), (nobody, BRIDGE)))),
        ("ARP with another's MAC in it", arp_from(mac, &arp(2, (STRANGER, own), (nobody, BRIDGE)))),
        ("ARP from another's MAC", arp_from(STRANGER, &arp(1, (mac, own), (nobody, BRIDGE)))),
        ("ARP of another kind", arp_from(mac, &strange_arp)),
        ("a router's advertisement", ethernet([0x33, 0x33, 0, 0, 0, 1], mac, frame::IPV6, &advertisement)),
        ("IPv6 to the host", to_host(mac, frame::IPV6, &advertisement)),
        ("a tagged frame", to_host(mac, 0x8100, &tagged)),
        ("a doubly tagged frame", to_host(mac, 0x88a8, &tagged)),
        ("LLDP", ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], mac, 0x88cc, &[0; 46])),
        (
            "a bridge's spanning tree",
            ethernet([1, 0x80, 0xc2, 0, 0, 0], mac, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]),
        ),
        ("PPPoE", to_host(mac, 0x8863, &[0x11, 9, 0, 0, 0, 0])),
        ("something unheard of", to_host(mac, 0x4242, &[0; 46])),
    ]
}

#[test]
fn a_guest_sends_ipv4_and_arp_as_nobody_but_itself() {
    let mut network = Network::new();
    let guest = network.guest(2, false);
    let other = network.guest(3, false);
    let host = network.watch("br-banger");
    for (what, frame) in lies(&guest) {
        guest.send(&frame);
        assert_eq!(guest.reaches_the_host(), NOTHING, "answered: {what}");
        let mut seen = host.seen_until(&guest.last_echo(BRIDGE));
        seen.retain(|seen| !seen.out);
        assert!(seen.is_empty(), "the host got {what}: {seen:?}");
    }
    assert_eq!(other.reaches_the_host(), NOTHING, "something came to another guest");

    let question = arp(1, (guest.mac, guest.address), ([0; 6], BRIDGE));
    guest.send(&ethernet(EVERYBODY, guest.mac, frame::ARP, &question));
    let answers = guest.reaches_the_host();
    assert!(answers.iter().any(|frame| frame::ethertype(frame) == frame::ARP), "an honest question");
}

#[test]
fn a_guest_can_take_the_address_of_nobody_else() {
    let mut network = Network::new();
    let (guest, other) = (network.guest(2, false), network.guest(3, false));
    for claim in [
        ethernet(
            EVERYBODY,
            guest.mac,
            frame::ARP,
            &arp(2, (guest.mac, other.address), (EVERYBODY, other.address)),
        ),
        ethernet(guest.bridge, guest.mac, frame::ARP, &arp(1, (guest.mac, other.address), ([0; 6], BRIDGE))),
        ethernet(guest.bridge, other.mac, frame::IPV4, &echo(other.address, BRIDGE, 1)),
    ] {
        guest.send(&claim);
        assert_eq!(guest.reaches_the_host(), NOTHING);
        assert_eq!(other.reaches_the_host(), NOTHING);
    }
    let neighbours = network.helper.inside("ip", &["neigh", "show", "dev", "br-banger"]);
    assert!(neighbours.contains("172.16.0.3 lladdr 02:fc:ac:10:00:03"), "{neighbours}");
}

/// What one guest sends to another, beside it or by way of the host.
fn advances(guest: &Guest, other: &Guest) -> Vec<(&'static str, Vec<u8>)> {
    let packet = echo(guest.address, other.address, 1);
    let by = |to, ethertype, content: &[u8]| ethernet(to, guest.mac, ethertype, content);
    vec![
        ("beside it", by(other.mac, frame::IPV4, &packet)),
        ("to everybody", by(EVERYBODY, frame::IPV4, &packet)),
        (
            "a question",
            by(EVERYBODY, frame::ARP, &arp(1, (guest.mac, guest.address), ([0; 6], other.address))),
        ),
        ("by way of the host", by(guest.bridge, frame::IPV4, &packet)),
        ("a connection", by(guest.bridge, frame::IPV4, &syn((guest.address, 4000), (other.address, 22)))),
    ]
}

#[test]
fn guests_do_not_reach_each_other_whatever_one_of_the_two_walls_lacks() {
    let mut network = Network::new();
    // With NAT the host forwards.
    let (guest, other) = (network.guest(2, true), network.guest(3, true));
    assert_eq!(network.helper.inside("cat", &["/proc/sys/net/ipv4/ip_forward"]), "1\n");
    let nothing_passes = |circumstances: &str, reaches: fn(&Guest) -> Vec<Vec<u8>>| {
        for (what, frame) in advances(&guest, &other) {
            guest.send(&frame);
            reaches(&guest);
            assert_eq!(reaches(&other), NOTHING, "{circumstances}: {what}");
        }
    };
    nothing_passes("as it is", Guest::reaches_the_host);
    for tap in [guest.vm.id.tap_name(), other.vm.id.tap_name()] {
        network.helper.inside("bridge", &["link", "set", "dev", &tap, "isolated", "off"]);
    }
    nothing_passes("with ports that are not isolated", Guest::reaches_the_host);
}

/// Accepts connections on a port of every address, or answers datagrams with what they said.
const LISTENS: &str = "use IO::Socket::INET; $| = 1; my $s = IO::Socket::INET->new(Listen => 8, LocalAddr => '0.0.0.0', \
                       LocalPort => PORT, ReuseAddr => 1) or die; print \"up\\n\"; 1 while $s->accept";
const ECHOES: &str = "use IO::Socket::INET; $| = 1; my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '172.16.0.1', \
                      LocalPort => PORT) or die; print \"up\\n\"; while ($s->recv(my $m, 999)) { $s->send(\"heard $m\") }";

fn at(program: &str, port: u16) -> String {
    program.replace("PORT", &port.to_string())
}

#[test]
fn of_the_host_a_guest_reaches_that_it_is_there_and_its_dns() {
    let mut network = Network::new();
    let guest = network.guest(2, false);
    let secret = [network.serve(&at(LISTENS, 8080)), network.serve(&at(ECHOES, 8080))];
    let dns = [network.serve(&at(LISTENS, DNS_PORT)), network.serve(&at(ECHOES, DNS_PORT))];
    let _world = World::beside(&network.helper, &[]);
    let from = guest.address;

    for port in [53, DNS_PORT] {
        let answers = guest.outcome_of(&syn((from, 4000), (BRIDGE, port)));
        let accepted = |frame: &Vec<u8>| Packet::read(frame).is_some_and(|packet| packet.is_syn_ack_of(port));
        assert!(answers.iter().any(accepted), "no connection to port {port}");
    }
    guest.send_packet(&udp((from, 4001), (BRIDGE, 53), b"a question"));
    let heard = || {
        let frames = guest.reaches_the_host();
        let answers: Vec<_> = frames.iter().filter_map(|frame| Packet::read(frame)?.udp_from(53)).collect();
        answers.concat()
    };
    harness::until("DNS answers", || heard() == b"heard a question");

    // A frame for a group of the link, which bridges do not forward, with a packet for the host in it.
    let past_the_bridge = |group, packet: &[u8]| {
        guest.send(&ethernet([1, 0x80, 0xc2, 0, 0, group], guest.mac, frame::IPV4, packet));
        guest.reaches_the_host().iter().any(|frame| Packet::read(frame).is_some())
    };
    for group in 0..16 {
        for packet in [udp((from, 4002), (BRIDGE, 8080), b"x"), echo(from, UPLINK, 1)] {
            assert!(!past_the_bridge(group, &packet), "{group:x}");
        }
    }
    for refused in [
        syn((from, 4003), (BRIDGE, 8080)),
        udp((from, 4003), (BRIDGE, 8080), b"x"),
        syn((from, 4004), (BRIDGE, 9)),
        syn((from, 4005), (UPLINK, 8080)),
        syn((from, 4005), (UPLINK, DNS_PORT)),
        syn((from, 4006), (Ipv4Addr::LOCALHOST, 8080)),
        echo(from, UPLINK, 1),
        udp((from, 4007), (BRIDGE, 9), b"x"),
        // ICMP's timestamps, and a protocol of which nobody knows.
        ipv4(from, BRIDGE, 1, &[13, 0, 0xf2, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ipv4(from, BRIDGE, 99, &[0; 8]),
    ] {
        assert!(!guest.is_answered(&refused), "{refused:02x?}");
    }
    drop((secret, dns));
}

const NOWHERE: [&str; 9] = [
    "10.1.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.17.0.1",
    "172.31.255.1",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.80",
];

#[test]
fn only_who_has_nat_reaches_the_world_and_nothing_but_the_world() {
    let mut network = Network::new();
    // All of them would answer.
    let _world = World::beside(&network.helper, &[&["203.0.113.9"], &NOWHERE[..]].concat());
    let barred = [Ipv4Addr::new(203, 0, 113, 80)].into();
    network.connection.call(&NetworkEnsure { barred }).unwrap();
    let (out, shut_in) = (network.guest(2, true), network.guest(3, false));
    let uplink = network.watch("egress0");

    out.until_echo_of(WORLD);
    let others = ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "240.0.0.1", "192.0.0.1"];
    for address in NOWHERE.into_iter().chain(others) {
        let address = address.parse().unwrap();
        assert!(!out.is_answered(&echo(out.address, address, 1)), "{address}");
        assert!(!out.is_answered(&syn((out.address, 4000), (address, 80))), "{address}");
    }
    assert!(!shut_in.is_answered(&echo(shut_in.address, WORLD, 1)), "without NAT");
    // The end of a connection that there is not, which would go out under the guest's own address.
    let end = [&[0x10, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 4][..], &[0; 6]].concat();
    assert!(!out.is_answered(&ipv4(out.address, WORLD, 6, &end)));
    let connected = out.outcome_of(&syn((out.address, 4001), (WORLD, 9)));
    assert!(connected.iter().any(|frame| Packet::read(frame).is_some()), "no word from the world");

    out.until_echo_of(WORLD);
    // From the destination on it leaves as it came.
    let last = out.last_echo(WORLD)[16..].to_vec();
    let seen = uplink.seen_until(&last);
    let sent = seen.iter().filter(|seen| seen.out && frame::ethertype(&seen.frame) == frame::IPV4);
    let ends: Vec<_> = sent.map(|seen| &seen.frame[26..34]).collect();
    let all_in_order = [UPLINK.octets(), WORLD.octets()].concat();
    assert!(ends.len() >= 2 && ends.iter().all(|ends| *ends == all_in_order), "{ends:?}");
}

#[test]
fn who_loses_nat_is_cut_off_in_the_middle_of_a_conversation() {
    let mut network = Network::new();
    let world = World::beside(&network.helper, &["203.0.113.9"]);
    let guest = network.guest(2, true);
    let set_nat = |network: &mut Network, nat| {
        network.connection.call(&TapCreate { nat, ..tap(&guest.vm.id, 2) }).unwrap().changed
    };
    let is_listed = |network: &mut Network| {
        network.connection.call(&InventoryRequest {}).unwrap().nat.contains(&guest.vm.id)
    };
    guest.until_echo_of(WORLD);
    let number = guest.asked();
    world.repeat_answer(&network.helper, number);
    assert!(!guest.reaches_the_host().is_empty(), "an answer of the conversation comes through");
    world.ask(&network.helper, guest.address);
    assert_eq!(guest.reaches_the_host(), NOTHING, "the world comes in");
    assert!(is_listed(&mut network));

    assert!(set_nat(&mut network, false));
    assert!(!set_nat(&mut network, false));
    assert!(!is_listed(&mut network));
    world.repeat_answer(&network.helper, number);
    assert_eq!(guest.reaches_the_host(), NOTHING, "an answer still comes");
    assert!(!guest.is_answered(&echo(guest.address, WORLD, number)), "it still gets out");

    assert!(set_nat(&mut network, true));
    guest.until_echo_of(WORLD);
}

#[test]
fn rules_that_somebody_changed_are_put_in_place_again_with_the_guests_that_there_are() {
    let mut network = Network::new();
    let (out, shut_in) = (network.guest(2, true), network.guest(3, false));
    let rules = |network: &Network| network.helper.inside("nft", &["list", "ruleset"]);
    let right = rules(&network);
    for change in [
        "flush ruleset",
        "delete table bridge banger",
        "flush chain inet banger to_the_host",
        "delete element inet banger nat { 172.16.0.2 }",
        "add element inet banger nat { 172.16.0.3 }",
    ] {
        network.helper.inside("nft", &[change]);
        assert_ne!(rules(&network), right, "{change}");
        assert!(network.connection.call(&NetworkEnsure::default()).unwrap().changed, "{change}");
        assert!(!network.connection.call(&NetworkEnsure::default()).unwrap().changed, "{change}");
        assert_eq!(rules(&network), right, "{change}");
    }
    // A change beside one of the helper's own is one too.
    network.helper.inside("nft", &["flush chain inet banger to_the_host"]);
    network.connection.call(&TapDelete { vm: shut_in.vm.id.clone() }).unwrap();
    assert!(network.connection.call(&NetworkEnsure::default()).unwrap().changed);
    assert!(out.is_answered(&echo(out.address, BRIDGE, 1)));
}

#[test]
fn a_vm_is_in_the_firewall_for_as_long_as_it_has_a_tap() {
    let mut network = Network::new();
    let empty = network.helper.inside("nft", &["list", "ruleset"]);
    let guest = network.guest(2, true);
    let rules = network.helper.inside("nft", &["list", "ruleset"]);
    assert!(
        rules.contains(&guest.vm.id.tap_name()) && rules.contains("elements = { 172.16.0.2 }"),
        "{rules}"
    );
    for changed in [true, false] {
        let deleted = network.connection.call(&TapDelete { vm: guest.vm.id.clone() }).unwrap();
        assert_eq!(deleted.changed, changed);
        assert_eq!(network.helper.inside("nft", &["list", "ruleset"]), empty);
    }
    let guest = network.guest(3, true);
    network.helper.inside("nft", &["flush", "ruleset"]);
    assert!(network.connection.call(&TapDelete { vm: guest.vm.id.clone() }).unwrap().changed);
    assert!(network.connection.call(&NetworkEnsure::default()).unwrap().changed);
    assert_eq!(network.helper.inside("nft", &["list", "ruleset"]), empty);
}

#[test]
fn without_a_firewall_there_is_no_network() {
    let hint_of = |nft| {
        let folder = folder();
        let helper = Start { nft, ..Start::default() }.helper(folder.path());
        let error = refusal(helper.connect().call(&NetworkEnsure::default()));
        assert_eq!(helper.link("br-banger"), None, "there is a bridge");
        error
    };
    let error = hint_of(Nft::None);
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.hint.is_some_and(|hint| hint.contains("apt install nftables")));

    let folder = harness::folder();
    let broken = script(folder.path(), "nft", "echo 'Error: no such thing' >&2; exit 1");
    let error = hint_of(Nft::Other(broken));
    assert!(error.message.contains("nft said Error: no such thing"), "{error}");
}

#[test]
fn a_tap_comes_up_only_behind_a_firewall_and_for_a_guests_address() {
    let mut network = Network::new();
    let vm = network.guest(2, false).vm.id.clone();
    for address in ["172.16.0.1", "172.16.0.0", "172.16.0.255", "172.16.1.2", "203.0.113.9", "0.0.0.0"] {
        let address = address.parse().unwrap();
        let outcome = network.connection.call(&TapCreate { vm: vm.clone(), address, nat: true });
        assert_eq!(refusal(outcome).kind, ErrorKind::BadRequest, "{address}");
    }
    network.helper.inside("nft", &["flush", "ruleset"]);
    let other = banger_protocol::ids::VmId::random();
    refusal(network.connection.call(&tap(&other, 9)));
    let flags = network.helper.link(&other.tap_name()).unwrap()["flags"].clone();
    assert!(!flags.as_array().unwrap().contains(&"UP".into()), "{flags}");
}
