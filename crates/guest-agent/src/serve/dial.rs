//! A connection of the host carried on to a TCP port on the guest's loopback.

use banger_protocol::guest_api::frame::{self, Failure, Kind};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How often it is looked whether a host that sends no more has gone altogether, which nothing tells.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CHUNK: usize = 16 * 1024;

/// Connects `host` with `port`; each direction ends by itself, and both when the host has gone.
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
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (host, service) = (&host, &service);
        let upwards = move || {
            carry(service, host);
            let _ = shutdown(host, Shutdown::Write);
            drop(ended);
        };
        thread::Builder::new().stack_size(super::STACK).spawn_scoped(scope, upwards)?;
        carry(host, service);
        let _ = shutdown(service, Shutdown::Write);
        // A service that ignores this, or has accepted nobody yet, would keep the connection and its place for ever.
        while end.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            if !takes_more(host) {
                let _ = shutdown(service, Shutdown::Both);
            }
        }
        Ok(())
    })
}

/// Whether somebody still receives what is sent there. What is sent is nothing, which the kernel refuses all the same
/// where nobody does (`vsock_connectible_sendmsg`).
fn takes_more(stream: &File) -> bool {
    !matches!(
        send(stream, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)
    )
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
