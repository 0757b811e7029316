//! Questions that come one in a packet.

use super::answer::{Reaction, Transport};
use super::{Names, ipv4};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Longest question that is read: one with a name of 255 bytes and every option a client may think of.
pub(super) const LONGEST_QUESTION: usize = 4096;

/// Should the socket be broken, it is not asked without end what the matter is.
const AFTER_AN_ERROR: Duration = Duration::from_millis(10);

/// Answers until dropped.
pub(super) async fn serve(socket: UdpSocket, names: Names) -> Infallible {
    let socket = Arc::new(socket);
    let mut packet = [0; LONGEST_QUESTION];
    loop {
        let (length, from) = match socket.recv_from(&mut packet).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a question was lost");
                tokio::time::sleep(AFTER_AN_ERROR).await;
                continue;
            }
        };
        let Some(guest) = ipv4(from) else { continue };
        match names.react(&packet[..length], guest) {
            // An answer for which there is no room is asked for again.
            Reaction::Answer(answer) => drop(socket.try_send_to(&answer, from)),
            Reaction::Forward(question) => {
                let (socket, names) = (socket.clone(), names.clone());
                tokio::spawn(async move {
                    if let Some(answer) = names.forwarder.ask(guest, &question, Transport::Udp).await {
                        let _ = socket.try_send_to(&answer, from);
                    }
                });
            }
            Reaction::Silence => {}
        }
    }
}
