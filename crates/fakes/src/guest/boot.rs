//! Coming up, and telling the host about it.

use super::phase::Phase;
use super::{Guest, Order};
use crate::behaviour::{Boot, GO};
use banger_protocol::guest_api::{NOTICE_PORT, Notice};
use rustix::fs::inotify;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longer than any notice may be.
const NONSENSE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Boots as far as the guest's behaviour says.
pub(super) fn boot(guest: &Guest, host_socket: &Path) {
    let host = || connect(host_socket);
    match guest.behaviour.boot {
        Boot::Usable => {}
        Boot::WhenTold => wait_for_go(),
        Boot::AgentOnly => {
            come_up(guest, host(), wait_for_go);
            return;
        }
        Boot::Fails => {
            fail(host());
            guest.order(Order::Reboot);
            return;
        }
        Boot::Babbles => babble(host),
    }
    come_up(guest, host(), || {});
}

fn connect(host_socket: &Path) -> io::Result<UnixStream> {
    let mut notices = host_socket.as_os_str().to_owned();
    notices.push(format!("_{NOTICE_PORT}"));
    UnixStream::connect(Path::new(&notices))
}

/// A host that does not listen misses it.
fn come_up(guest: &Guest, mut host: io::Result<UnixStream>, before_usable: impl FnOnce()) {
    guest.hold.pass();
    guest.phases.enter(Phase::Agent);
    tell(&mut host, &Notice::Agent { boot_id: guest.boot_id.clone(), uptime_ms: 1 });
    before_usable();
    guest.hold.pass();
    guest.phases.enter(Phase::Usable);
    tell(&mut host, &Notice::Usable { uptime_ms: 2 });
}

fn tell(host: &mut io::Result<UnixStream>, notice: &Notice) {
    let Ok(host) = host else { return };
    let mut line = serde_json::to_vec(notice).expect("a notice serialises");
    line.push(b'\n');
    let _ = host.write_all(&line);
}

/// The line is followed by the machine's end, so the host is given the time to read it.
fn fail(mut host: io::Result<UnixStream>) {
    let notice = Notice::BootFailed { step: "root".to_owned(), reason: "made to fail".to_owned() };
    tell(&mut host, &notice);
    if let Ok(host) = host {
        let _ = host.set_read_timeout(Some(PATIENCE));
        let _ = host.shutdown(Shutdown::Write);
        let _ = io::copy(&mut &host, &mut io::sink());
    }
}

fn babble(host: impl Fn() -> io::Result<UnixStream>) {
    for nonsense in
        [vec![b'x'; NONSENSE], b"{\"agent\":{}}\n".to_vec(), b"\n".to_vec(), vec![0xff; 8], Vec::new()]
    {
        if let Ok(mut host) = host() {
            let _ = host.write_all(&nonsense);
        }
    }
}

/// Waits until the file appears in the machine's folder, which is this process's.
fn wait_for_go() {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("the kernel has inotify");
    inotify::add_watch(&watch, ".", inotify::WatchFlags::CREATE).expect("the folder can be watched");
    while !Path::new(GO).exists() {
        let _ = rustix::io::read(&watch, &mut [0_u8; 512]);
    }
}
