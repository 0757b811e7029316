use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, DialError};
use crate::printer;
use banger_protocol::daemon_api::vm::{Connect, Health, Show, State, Stats, VmHealth};
use banger_protocol::names::VmRef;
use banger_protocol::wire::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Connect standard input and output to a TCP port inside a VM; ssh's `ProxyCommand`.
///
/// A guest whose own start-up may still bring a server for the port is waited for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, with or without `.vm`.
    vm: String,
    /// The port on the guest's loopback.
    port: u16,
}

/// However long its start-up takes, a guest is given up after this.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How often the port is tried.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the guest is asked how it is, which is work for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A guest that does not tell is taken to be at work on its start-up if its VMM is, for this long together; one that has
/// worked more than this in all has started up.
const WINDOW: Duration = Duration::from_secs(3);
const BUSY_PERCENT: u128 = 10;
const WORK_OF_A_START: Duration = Duration::from_secs(120);

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let vm = super::vm_ssh::vm_of_host(&self.vm);
        let mut outlook = Outlook::new(&vm);
        let guest = loop {
            // Before trying: what is up by then and does not listen will not.
            let hope = outlook.look()?;
            let tried = agent_of(&vm).and_then(|agent| guest::dial(agent, self.port).map_err(failure_of));
            match tried {
                Ok(guest) => break guest,
                Err(failure) if failure.kind != Some(ErrorKind::Unavailable) => return Err(failure),
                Err(failure) => match hope {
                    Hope::ComesUp => {}
                    Hope::IsUp => {
                        return Err(failure.with_hint(format!(
                            "it has finished booting: `banger vm ports {vm}` lists its listening ports"
                        )));
                    }
                    Hope::TakesTooLong => {
                        return Err(failure.with_hint(format!(
                            "it has been booting for {} min: `banger vm logs {vm}` shows its console",
                            LONGEST.as_secs() / 60
                        )));
                    }
                },
            }
            #[expect(clippy::disallowed_methods, reason = "tries again while the guest comes up, no longer")]
            std::thread::sleep(AGAIN);
        };
        guest::pass_both_ways(guest).map_err(|error| Failure::of(&error))?;
        Ok(0)
    }
}

fn agent_of(vm: &VmRef) -> Result<UnixStream, Failure> {
    let (_, agent) = Daemon::connect()?.call_receiving(&Connect { vm: vm.clone() })?;
    Ok(UnixStream::from(agent))
}

/// A port that refuses is as unavailable as a guest whose agent does not answer yet.
fn failure_of(error: DialError) -> Failure {
    let kind = match &error {
        DialError::Refused { .. } => Some(ErrorKind::Unavailable),
        _ => None,
    };
    Failure { kind, ..Failure::of(&error) }
}

/// What can be hoped for of a guest that does not answer at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hope {
    /// Its start-up may still bring a server.
    ComesUp,
    /// Nothing will listen that does not now.
    IsUp,
    TakesTooLong,
}

/// What a guest says of its own start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartUp {
    UnderWay,
    Done,
    Untold,
}

/// Follows the start-up of a guest.
struct Outlook<'a> {
    vm: &'a VmRef,
    begun: Instant,
    looked: Option<Instant>,
    /// When, and how much processor time its VMM had taken by then.
    work: Option<(Instant, Duration)>,
    told: bool,
}

impl<'a> Outlook<'a> {
    fn new(vm: &'a VmRef) -> Self {
        Self { vm, begun: Instant::now(), looked: None, work: None, told: false }
    }

    /// What can be hoped for now. The first time that is the best: most ports answer.
    fn look(&mut self) -> Result<Hope, Failure> {
        let Some(looked) = self.looked else {
            self.looked = Some(self.begun.checked_sub(LOOK_EVERY).unwrap_or(self.begun));
            return Ok(Hope::ComesUp);
        };
        if looked.elapsed() < LOOK_EVERY {
            return Ok(Hope::ComesUp);
        }
        let hope = match self.start_up()? {
            _ if self.begun.elapsed() > LONGEST => Hope::TakesTooLong,
            StartUp::UnderWay => Hope::ComesUp,
            StartUp::Done => Hope::IsUp,
            StartUp::Untold => self.hope_of_its_work()?,
        };
        self.looked = Some(Instant::now());
        if hope == Hope::ComesUp && !self.told {
            self.told = true;
            printer::remark(format_args!("waiting for VM `{}` to boot", self.vm));
        }
        Ok(hope)
    }

    fn start_up(&self) -> Result<StartUp, Failure> {
        let mut daemon = Daemon::connect()?;
        // Before its agent answers it is the daemon that watches over it.
        if daemon.call(&Show { vm: self.vm.clone() })?.state == State::Starting {
            return Ok(StartUp::UnderWay);
        }
        Ok(start_up(&daemon.call(&Health { vm: self.vm.clone() })?))
    }

    fn hope_of_its_work(&mut self) -> Result<Hope, Failure> {
        let stats = Daemon::connect()?.call(&Stats { vm: self.vm.clone() })?;
        let Some(running) = stats.running else { return Ok(Hope::IsUp) };
        let (now, worked) = (Instant::now(), Duration::from_millis(running.cpu_ms));
        let (since, before) = *self.work.get_or_insert((now, worked));
        if now - since < WINDOW {
            return Ok(Hope::ComesUp);
        }
        self.work = Some((now, worked));
        Ok(if is_at_work(now - since, worked.saturating_sub(before), worked) {
            Hope::ComesUp
        } else {
            Hope::IsUp
        })
    }
}

/// What a guest's health says of its start-up. Pure.
fn start_up(health: &VmHealth) -> StartUp {
    match (&health.agent, health.systemd.as_deref()) {
        (None, _) => StartUp::Untold,
        (Some(agent), _) if !agent.usable => StartUp::UnderWay,
        (Some(_), Some("initializing" | "starting")) => StartUp::UnderWay,
        (Some(_), Some("running" | "degraded" | "maintenance" | "stopping")) => StartUp::Done,
        (Some(_), _) => StartUp::Untold,
    }
}

/// Whether a guest that worked so much in this time, and so much in all, may be starting up. Pure.
fn is_at_work(time: Duration, worked: Duration, in_all: Duration) -> bool {
    worked.as_millis() * 100 >= time.as_millis() * BUSY_PERCENT && in_all < WORK_OF_A_START
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_protocol::guest_api;

    #[test]
    fn a_guest_tells_whether_its_start_up_is_done() {
        let health = |usable: Option<bool>, systemd: Option<&str>| {
            let agent = usable.map(|usable| guest_api::Health {
                version: String::new(),
                boot_id: String::new(),
                usable,
                uptime_ms: 1,
            });
            let systemd = systemd.map(str::to_owned);
            let (id, name) = ("0123456789ab".parse().unwrap(), "dev".parse().unwrap());
            start_up(&VmHealth { id, name, healthy: true, problem: None, agent, systemd })
        };
        for (usable, systemd, expected) in [
            (None, None, StartUp::Untold),
            (Some(false), None, StartUp::UnderWay),
            (Some(false), Some("running"), StartUp::UnderWay),
            (Some(true), Some("initializing"), StartUp::UnderWay),
            (Some(true), Some("starting"), StartUp::UnderWay),
            (Some(true), Some("running"), StartUp::Done),
            (Some(true), Some("degraded"), StartUp::Done),
            (Some(true), Some("maintenance"), StartUp::Done),
            (Some(true), Some("offline"), StartUp::Untold),
            (Some(true), None, StartUp::Untold),
        ] {
            assert_eq!(health(usable, systemd), expected, "{usable:?} {systemd:?}");
        }
    }

    #[test]
    fn a_guest_that_does_not_tell_is_judged_by_its_work() {
        let at_work =
            |worked, in_all| is_at_work(WINDOW, Duration::from_millis(worked), Duration::from_secs(in_all));
        assert!(at_work(3000, 10) && at_work(300, 10));
        assert!(!at_work(299, 10), "an idle guest");
        assert!(!at_work(3000, 120), "a guest that has long been up");
    }
}
