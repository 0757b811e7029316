//! A guest that is nothing but a network card, and somebody who watches a link.
//!
//! What plays QEMU carries frames between the tap it was handed, confined as QEMU is, and a socket in the VM's folder.

use super::frame::{self, Mac, Packet};
use super::{Helper, Start, Vm, script, until};
use banger_protocol::root_api::{Acceleration, MacAddress, NetworkEnsure, Program, QemuSpec, TapCreate};
use banger_protocol::size::ByteSize;
use banger_protocol::wire::Connection;
use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);

/// How long an answer may take that is to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same with header and without, which is ten zeros on the way to the tap.
const CARRIER: &str = r#"exec perl -e '
    use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) and bind(S, sockaddr_un("wire")) or die $!; chmod 0666, "wire";
    open(my $tap, "+<&=", 5) or die $!;
    while (1) {
        my $ready = ""; vec($ready, 5, 1) = 1; vec($ready, fileno S, 1) = 1; select($ready, undef, undef, undef);
        if (vec($ready, 5, 1)) { sysread($tap, my $f, 70000); send(S, substr($f, 10), 0, sockaddr_un("test")); }
        if (vec($ready, fileno S, 1)) { recv(S, my $f, 70000, 0); syswrite($tap, ("\0" x 10) . $f); }
    }'"#;
/// Each frame a line: whether it came in or went out, and its bytes.
const WATCHER: &str = r#"use Socket; $| = 1; socket(S, 17, 3, 0x0300) or die $!;
    bind(S, pack("SnlSCCa8", 17, 3, $ARGV[0], 0, 0, 0, "")) or die $!; print "watching\n";
    while (my $from = recv(S, my $f, 70000, 0)) {
        print((unpack("SnlSC", $from))[4] == 4 ? "out " : "in ", unpack("H*", $f), "\n");
    }"#;

/// A helper that starts guests of this kind, and its bridge.
pub(crate) struct Network {
    pub(crate) helper: Helper,
    pub(crate) connection: Connection,
    bridge: Mac,
    _folder: tempfile::TempDir,
}

impl Network {
    pub(crate) fn new() -> Self {
        let folder = super::folder();
        let start = Start { qemu: Some(script(folder.path(), "wire", CARRIER)), ..Start::default() };
        let helper = start.helper(folder.path());
        let mut connection = helper.connect();
        connection.call(&NetworkEnsure::default()).unwrap();
        let bridge = mac(&helper, "br-banger");
        Self { helper, connection, bridge, _folder: folder }
    }

    pub(crate) fn guest(&mut self, last: u8, nat: bool) -> Guest {
        let vm = Vm::new(&self.helper.folder);
        let tap = TapCreate { nat, ..super::tap(&vm.id, last) };
        let address = tap.address;
        self.connection.call(&tap).unwrap();
        let mac = MacAddress::of_guest(address);
        let machine = QemuSpec {
            acceleration: Acceleration::Tcg,
            vcpu: 1,
            memory: ByteSize::mib(128),
            kernel_command_line: String::new(),
            disks: Vec::new(),
            mac,
        };
        let nothing = File::open("/dev/null").unwrap();
        vm.start(&mut self.connection, Program::Qemu(machine), &[&nothing, &nothing]).unwrap();
        until("the guest has its network card", || vm.path.join("wire").exists());
        let socket = UnixDatagram::bind(vm.path.join("test")).unwrap();
        std::fs::set_permissions(vm.path.join("test"), Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let guest = Guest { vm, address, mac: mac.0, bridge: self.bridge, socket, asked: 1000.into() };
        // So that the host knows whose address this is, and will not ask in the middle of a test.
        guest.reaches_the_host();
        guest
    }

    /// Somebody who watches a link, from now on.
    pub(crate) fn watch(&self, link: &str) -> Watcher {
        let index = self.helper.link(link).unwrap()["ifindex"].to_string();
        let mut child = self.helper.spawn_inside("perl", &["-e", WATCHER, &index], Stdio::piped());
        let (sender, frames) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        assert_eq!(frames.recv_timeout(PATIENCE).as_deref(), Ok("watching"));
        Watcher { _child: Served(child), frames }
    }

    /// A program that serves in the namespace until the test ends.
    pub(crate) fn serve(&self, perl: &str) -> Served {
        let mut child = self.helper.spawn_inside("perl", &["-e", perl], Stdio::piped());
        let mut word = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "up\n", "it does not serve: {perl}");
        Served(child)
    }
}

/// A program that ends with the test.
pub(crate) struct Served(pub(crate) Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mac(helper: &Helper, link: &str) -> Mac {
    let text = helper.link(link).unwrap()["address"].as_str().unwrap().to_owned();
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// A network card at the end of a VM's tap.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: Mac,
    /// Whom it sends to what is not for its own network.
    pub(crate) bridge: Mac,
    socket: UnixDatagram,
    /// Number of its last echo request.
    asked: std::cell::Cell<u16>,
}

impl Guest {
    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket.send_to(frame, self.vm.path.join("wire")).unwrap();
    }

    /// Sends a packet to the bridge, for it to take from there.
    pub(crate) fn send_packet(&self, packet: &[u8]) {
        self.send(&frame::ethernet(self.bridge, self.mac, frame::IPV4, packet));
    }

    fn next_number(&self) -> u16 {
        self.asked.set(self.asked.get() + 1);
        self.asked.get()
    }

    /// Whether a frame is the host's own talk, to everybody or for a MAC; for this one's it is answered.
    fn is_talk(&self, frame: &[u8]) -> bool {
        let is_question = frame::ethertype(frame) == frame::ARP && frame[21] == 1;
        if is_question && frame[38..42] == self.address.octets() {
            let reply = frame::arp(2, (self.mac, self.address), (self.bridge, BRIDGE));
            self.send(&frame::ethernet(self.bridge, self.mac, frame::ARP, &reply));
        }
        let to_many = frame[0] & 1 == 1;
        frame[6..12] == self.bridge && (is_question || to_many)
    }

    /// Everything but the host's own talk that arrives until the host has answered an echo request. What was sent before has been dealt with
    /// then, and what came of it has come.
    pub(crate) fn reaches_the_host(&self) -> Vec<Vec<u8>> {
        self.until_echo_of(BRIDGE)
    }

    /// As [`Guest::reaches_the_host`], with another who answers.
    pub(crate) fn until_echo_of(&self, other: Ipv4Addr) -> Vec<Vec<u8>> {
        let number = self.next_number();
        self.send_packet(&frame::echo(self.address, other, number));
        let mut before = Vec::new();
        loop {
            let mut frame = vec![0; 70_000];
            let length =
                self.socket.recv(&mut frame).unwrap_or_else(|e| panic!("{other} does not answer: {e}"));
            frame.truncate(length);
            if Packet::read(&frame).is_some_and(|packet| packet.is_echo_reply(number)) {
                return before;
            }
            if !self.is_talk(&frame) {
                before.push(frame);
            }
        }
    }

    /// The packet with which it last asked somebody.
    pub(crate) fn last_echo(&self, other: Ipv4Addr) -> Vec<u8> {
        frame::echo(self.address, other, self.asked.get())
    }

    /// The number of that.
    pub(crate) fn asked(&self) -> u16 {
        self.asked.get()
    }

    /// What comes of sending a packet, up to an answer that is known to come.
    pub(crate) fn outcome_of(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.send_packet(packet);
        self.reaches_the_host()
    }

    /// Whether a packet came of it.
    pub(crate) fn is_answered(&self, packet: &[u8]) -> bool {
        self.outcome_of(packet).iter().any(|frame| Packet::read(frame).is_some())
    }
}

/// A frame that passed a link.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) out: bool,
    pub(crate) frame: Vec<u8>,
}

impl Seen {
    fn read(line: &str) -> Self {
        let (direction, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Self { out: direction == "out", frame: (0..hex.len()).step_by(2).map(byte).collect() }
    }
}

/// Somebody who watches a link.
pub(crate) struct Watcher {
    _child: Served,
    frames: Receiver<String>,
}

impl Watcher {
    /// What was seen since it was last asked, up to a last frame that contains these bytes, which is known to come.
    pub(crate) fn seen_until(&self, last: &[u8]) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let seen = Seen::read(&self.frames.recv_timeout(PATIENCE).expect("the last frame is seen"));
            if seen.frame.windows(last.len()).any(|bytes| bytes == last) {
                return all;
            }
            all.push(seen);
        }
    }
}

/// A network namespace that is the world: whatever address it is given it answers for.
pub(crate) struct World(Served);

/// What the host has beside it, in place of pasta's link.
pub(crate) const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);

impl World {
    pub(crate) fn beside(helper: &Helper, addresses: &[&str]) -> Self {
        let script = "$| = 1; print \"up\\n\"; sleep 600";
        let mut child = helper.spawn_inside("unshare", &["-n", "perl", "-e", script], Stdio::piped());
        let mut word = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut word).unwrap();
        let pid = child.id().to_string();
        let ip = |words: &str| drop(helper.inside("ip", &words.split(' ').collect::<Vec<_>>()));
        ip(&format!("link add egress0 type veth peer name w netns {pid}"));
        ip("address add 192.0.0.2/29 dev egress0");
        ip("link set egress0 up");
        ip("route add default via 192.0.0.1");
        let there = |words: &str| {
            let words: Vec<&str> =
                ["-t", &pid, "-n", "--", "ip"].into_iter().chain(words.split(' ')).collect();
            drop(helper.inside("nsenter", &words));
        };
        there("address add 192.0.0.1/29 dev w");
        there("link set w up");
        there("link set lo up");
        there("route add 172.16.0.0/24 via 192.0.0.2");
        for address in addresses {
            there(&format!("address add {address}/32 dev w"));
        }
        Self(Served(child))
    }

    /// Asks a guest for an echo, unasked itself, by way of the host.
    pub(crate) fn ask(&self, helper: &Helper, guest: Ipv4Addr) {
        let pid = self.0.0.id().to_string();
        let script = "socket(S, 2, 3, 1) or die $!; my $m = pack('CCnnn', 8, 0, 0xf7ff - 7 - 1, 7, 1); \
                      send(S, $m, 0, pack('Sna4a8', 2, 0, pack('C4', split(/\\./, $ARGV[0])), '')) or die $!";
        helper.inside("nsenter", &["-t", &pid, "-n", "--", "perl", "-e", script, &guest.to_string()]);
    }

    /// Sends the host once more the answer to an echo request.
    pub(crate) fn repeat_answer(&self, helper: &Helper, number: u16) {
        let script = "socket(S, 2, 3, 1) or die $!; my $m = pack('CCnnn', 0, 0, 65535 - 7 - $ARGV[0], 7, $ARGV[0]); \
                      bind(S, pack('Sna4a8', 2, 0, pack('C4', 203, 0, 113, 9), '')) or die $!; \
                      send(S, $m, 0, pack('Sna4a8', 2, 0, pack('C4', 192, 0, 0, 2), '')) or die $!";
        let pid = self.0.0.id().to_string();
        helper.inside("nsenter", &["-t", &pid, "-n", "--", "perl", "-e", script, &number.to_string()]);
    }
}

impl Helper {
    pub(crate) fn spawn_inside(&self, program: &str, arguments: &[&str], stdout: Stdio) -> Child {
        let pid = self.child.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-U", "-n", "--preserve-credentials", "--", program]).args(arguments);
        command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap()
    }
}
