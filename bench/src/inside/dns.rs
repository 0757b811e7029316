//! Questions to the daemon's DNS, asked in the network namespace of the helper, and to an echo beside it.

use anyhow::{Context as _, Result, ensure};
use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// `x.vm`, type A: header (RFC 1035, 4.1.1) and question.
const QUESTION: [u8; 22] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 2, b'v', b'm', 0, 0, 1, 0, 1];
/// An answer to it has one record.
const ANSWERS: usize = 7;
const TURNS: usize = 3000;
/// Questions under way while as many as possible are asked.
const WINDOW: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints how long each answer took and each echo, in nanoseconds; then, for each line of input, asks `count` questions as
/// fast as they are answered.
pub(super) fn dns(server: SocketAddr, count: usize) -> Result<()> {
    let daemon = connected_to(server)?;
    let echo = connected_to(echo()?)?;
    for turn in 0..=TURNS {
        let (answer, echoed) = (round_trip(&daemon)?, round_trip(&echo)?);
        if turn > 0 {
            println!("took {} {}", answer.as_nanos(), echoed.as_nanos());
        }
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line.context("waiting for a turn")?;
        let mut packet = [0; 512];
        for sent in 0..count + WINDOW {
            if sent < count {
                daemon.send(&QUESTION).context("asking")?;
            }
            if sent >= WINDOW {
                let length = daemon.recv(&mut packet).context("waiting for an answer")?;
                ensure!(length > QUESTION.len() && packet[ANSWERS] == 1, "it is no answer");
            }
        }
        println!("asked {count}");
    }
    Ok(())
}

fn connected_to(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    Ok(socket)
}

fn round_trip(socket: &UdpSocket) -> Result<Duration> {
    let mut packet = [0; 512];
    let begun = Instant::now();
    socket.send(&QUESTION).context("asking")?;
    socket.recv(&mut packet).context("waiting for an answer")?;
    Ok(begun.elapsed())
}

/// Somebody who answers with what was said, and does nothing else.
fn echo() -> Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a socket")?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&packet[..length], from);
        }
    });
    Ok(address)
}
