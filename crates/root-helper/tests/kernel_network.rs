//! The bridge and the taps, for real, in the helper's own network namespace.

mod harness;

use banger_protocol::ids::VmId;
use banger_protocol::root_api::{DNS_PORT, DnsListen, InventoryRequest, NetworkEnsure, TapDelete};
use banger_protocol::wire::ErrorKind;
use harness::{Helper, Start, folder, host_links, refusal_kind, tap};

fn helper(folder: &tempfile::TempDir) -> Helper {
    Start::default().helper(folder.path())
}

#[test]
fn the_bridge_is_made_once_and_found_after_that() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    assert!(connection.call(&NetworkEnsure::default()).unwrap().changed);
    assert!(!connection.call(&NetworkEnsure::default()).unwrap().changed);

    let bridge = helper.link("br-banger").unwrap();
    assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
    assert_eq!(bridge["addr_info"][0]["local"], "172.16.0.1");
    assert_eq!(bridge["addr_info"][0]["prefixlen"], 24);
    assert_eq!(bridge["addr_info"].as_array().unwrap().len(), 1, "an IPv6 address: {bridge}");
    assert!(bridge["flags"].as_array().unwrap().contains(&"UP".into()));
    assert!(helper.link("lo").unwrap()["flags"].as_array().unwrap().contains(&"UP".into()));
}

#[test]
fn the_bridge_keeps_its_mac_whoever_comes_and_goes() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    connection.call(&NetworkEnsure::default()).unwrap();
    for vm in [VmId::random(), VmId::random(), VmId::random()] {
        assert_eq!(helper.link("br-banger").unwrap()["address"], "02:fc:ac:10:00:01");
        connection.call(&tap(&vm, 2)).unwrap();
        assert_eq!(helper.link("br-banger").unwrap()["address"], "02:fc:ac:10:00:01");
        connection.call(&TapDelete { vm }).unwrap();
    }
}

#[test]
fn a_bridge_that_lost_its_address_gets_it_back() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    connection.call(&NetworkEnsure::default()).unwrap();
    helper.inside("ip", &["address", "flush", "dev", "br-banger"]);
    helper.inside("ip", &["link", "set", "br-banger", "down"]);
    assert!(connection.call(&NetworkEnsure::default()).unwrap().changed);
    assert!(!connection.call(&NetworkEnsure::default()).unwrap().changed);
}

#[test]
fn nothing_is_forwarded_and_ipv6_is_off() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    let vm = VmId::random();
    connection.call(&NetworkEnsure::default()).unwrap();
    connection.call(&tap(&vm, 2)).unwrap();
    assert_eq!(helper.inside("cat", &["/proc/sys/net/ipv4/ip_forward"]).trim(), "0");
    for link in ["br-banger", &vm.tap_name()] {
        let switch = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
        assert_eq!(helper.inside("cat", &[&switch]).trim(), "1", "{link}");
    }
}

#[test]
fn a_tap_is_an_isolated_port_of_the_bridge_until_it_is_deleted() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    let vm = VmId::random();
    connection.call(&NetworkEnsure::default()).unwrap();
    assert!(connection.call(&tap(&vm, 2)).unwrap().changed);
    assert!(!connection.call(&tap(&vm, 2)).unwrap().changed);

    let tap = helper.link(&vm.tap_name()).unwrap();
    assert_eq!(tap["master"], "br-banger");
    assert_eq!(tap["linkinfo"]["info_data"]["type"], "tap");
    assert_eq!(tap["linkinfo"]["info_slave_data"]["isolated"], true);
    assert!(tap["flags"].as_array().unwrap().contains(&"UP".into()));
    assert_eq!(connection.call(&InventoryRequest {}).unwrap().taps, std::slice::from_ref(&vm));

    assert!(connection.call(&TapDelete { vm: vm.clone() }).unwrap().changed);
    assert!(!connection.call(&TapDelete { vm: vm.clone() }).unwrap().changed);
    assert_eq!(helper.link(&vm.tap_name()), None);
    assert!(connection.call(&InventoryRequest {}).unwrap().taps.is_empty());
}

#[test]
fn a_tap_that_was_cut_off_is_connected_again() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    let vm = VmId::random();
    connection.call(&NetworkEnsure::default()).unwrap();
    connection.call(&tap(&vm, 2)).unwrap();
    helper.inside("ip", &["link", "set", &vm.tap_name(), "nomaster"]);
    assert!(connection.call(&tap(&vm, 2)).unwrap().changed);
    let tap = helper.link(&vm.tap_name()).unwrap();
    assert_eq!(tap["linkinfo"]["info_slave_data"]["isolated"], true);
}

#[test]
fn links_that_only_have_the_right_name_are_left_alone() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    let vm = VmId::random();
    assert_eq!(refusal_kind(connection.call(&tap(&vm, 2))), ErrorKind::NotFound);

    helper.inside("ip", &["link", "add", &vm.tap_name(), "type", "bridge"]);
    connection.call(&NetworkEnsure::default()).unwrap();
    assert_eq!(refusal_kind(connection.call(&tap(&vm, 2))), ErrorKind::Refused);
    assert_eq!(refusal_kind(connection.call(&TapDelete { vm: vm.clone() })), ErrorKind::Refused);
    assert_eq!(helper.link(&vm.tap_name()).unwrap()["linkinfo"]["info_kind"], "bridge");
    assert!(connection.call(&InventoryRequest {}).unwrap().taps.is_empty());

    helper.inside("ip", &["link", "delete", "br-banger"]);
    helper.inside("ip", &["tuntap", "add", "br-banger", "mode", "tap"]);
    assert_eq!(refusal_kind(connection.call(&NetworkEnsure::default())), ErrorKind::Refused);
}

#[test]
fn the_sockets_for_dns_are_open_once_on_the_bridge_and_again_when_they_were_closed() {
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    assert_eq!(refusal_kind(connection.call(&DnsListen {})), ErrorKind::NotFound, "without a bridge");
    connection.call(&NetworkEnsure::default()).unwrap();
    for _ in 0..2 {
        let (listening, sockets) = connection.call_with(&DnsListen {}, &[], |_| {}).unwrap();
        assert_eq!((listening.changed, sockets.len()), (true, 2));
        let (listening, none) = connection.call_with(&DnsListen {}, &[], |_| {}).unwrap();
        assert_eq!((listening.changed, none.len()), (false, 0), "opened twice");

        let port = DNS_PORT.to_string();
        let asked = helper.inside("perl", &["-e", ECHO, &port]);
        assert_eq!(asked, "", "the sockets were not connected to");
        let [udp, tcp] = <[_; 2]>::try_from(sockets).unwrap();
        let (udp, tcp) = (std::net::UdpSocket::from(udp), std::net::TcpListener::from(tcp));
        let (mut packet, address) = ([0; 16], std::net::Ipv4Addr::new(172, 16, 0, 1));
        let length = udp.recv(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"over udp");
        drop(tcp.accept().unwrap());
        assert_eq!(udp.local_addr().unwrap(), (address, DNS_PORT).into());
        assert_eq!(tcp.local_addr().unwrap(), (address, DNS_PORT).into());
    }
}

/// Sends a packet to the bridge, and connects to it.
const ECHO: &str = r#"use IO::Socket::INET; my @to = (PeerAddr => "172.16.0.1", PeerPort => $ARGV[0]);
    my $udp = IO::Socket::INET->new(@to, Proto => "udp") or die; $udp->send("over udp") or die;
    IO::Socket::INET->new(@to, Proto => "tcp") or die;"#;

#[test]
fn the_hosts_own_links_stay_as_they_are() {
    let before = host_links();
    let folder = folder();
    let helper = helper(&folder);
    let mut connection = helper.connect();
    connection.call(&NetworkEnsure::default()).unwrap();
    connection.call(&tap(&VmId::random(), 2)).unwrap();
    assert_eq!(host_links(), before);
    drop(helper);
    assert_eq!(host_links(), before);
}
