//! A connection of the host carried on to a TCP port on the guest's loopback.

use banger_protocol::guest_api::frame::{self, Failure, Kind};
use rustix::net::{Shutdown, shutdown};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const CHUNK: usize = 16 * 1024;

/// Connects `host` with `port`; each direction ends by itself.
pub(super) fn run(mut host: File, port: u16) -> io::Result<()> {
    let service = match connect(port) {
        Ok(service) => service,
        Err(e) => {
            let message = format!("port {port} of the guest does not answer: {e}");
            return frame::write_json(&mut host, Kind::Error, &Failure { message });
        }
    };
    // Keystrokes and small answers go at once.
    let _ = service.set_nodelay(true);
    frame::write(&mut host, Kind::Started, &[])?;
    thread::scope(|scope| {
        let upwards = || {
            carry(&service, &host);
            let _ = shutdown(&host, Shutdown::Write);
        };
        thread::Builder::new().stack_size(super::STACK).spawn_scoped(scope, upwards)?;
        carry(&host, &service);
        let _ = shutdown(&service, Shutdown::Write);
        Ok(())
    })
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let at = |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_TIME);
    // The answer of IPv4 is the one to report: a guest need not have the other at all.
    at(Ipv4Addr::LOCALHOST.into()).or_else(|first| at(Ipv6Addr::LOCALHOST.into()).map_err(|_| first))
}

/// Carries bytes until `from` ends or `to` takes no more.
fn carry(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
