//! An init and an ssh server for a guest whose image has none: installed by the distribution's own package manager right
//! after the first boot, and then the guest boots once more, with them.
//!
//! ```text
//! up, the agent is PID 1 ─▶ /etc/os-release ─▶ plan ─▶ each command, its output to LOG ─▶ restart ─▶ up, with an init
//! ```
//!
//! Nothing of it stays in the guest that a later boot could do again. What went wrong is told with the last words of the
//! log, and the VM stays as it is for whoever wants to look.

mod plan;

use crate::daemon::{Daemon, FollowError, follow};
use crate::failure::Failure;
use crate::guest::{Done, ExecError, Input, run_task, said};
use crate::printer::Progress;
use crate::signals::Signals;
use crate::workspace::Interrupt;
use banger_protocol::daemon_api::vm::{Connect, Restart, VmView};
use banger_protocol::guest_api::{Exec, Exit};
use banger_protocol::names::VmRef;
use banger_protocol::wire::ConnectionError;
use plan::{UnknownDistribution, plan};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

/// What the package manager said, in the guest.
const LOG: &str = "/var/log/banger-install-init.log";
/// How many of its last lines are told.
const TOLD: usize = 5;
/// Where an image says what it is (os-release(5)).
const OS_RELEASE: &str = "cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release";
/// Runs what follows it. A package manager with nobody to ask must not ask.
const LOGGED: &str = "mkdir -p /var/log && echo \"+ $*\" >> \"$0\" && exec \"$@\" >> \"$0\" 2>&1";
const QUIETLY: [(&str, &str); 2] = [("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8")];
const HAS_INIT: &str = "for init in /sbin/init /usr/lib/systemd/systemd /lib/systemd/systemd; do test -x $init && exit; done; exit 1";

#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("the image has no shell, and so no package manager")]
    NoShell,
    #[error("the image does not name its distribution")]
    NoRelease,
    #[error(transparent)]
    Unknown(UnknownDistribution),
    #[error("the guest cannot be reached")]
    Daemon(#[source] ConnectionError),
    #[error("the guest refused")]
    Guest(#[source] ExecError),
    #[error("`{command}` {end}{}", told(said))]
    Failed { command: String, end: String, said: Vec<String> },
    #[error("everything was installed, but there is still no init")]
    NoInit,
    /// By a signal; the code says which.
    #[error("interrupted")]
    Interrupted { code: u8 },
}

fn told(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// Installs them in a VM that has come up, and restarts it. `is_kept`: whether there is a VM to look into when it fails.
pub(crate) fn install(
    daemon: &mut Daemon,
    vm: &VmView,
    is_kept: bool,
    early: bool,
    signals: &Signals,
) -> Result<VmView, Failure> {
    let (name, reference) = (&vm.name, VmRef(vm.id.to_string()));
    let progress = Progress::live_or_silent(&format!("first boot of {name}"));
    let failed = |error: InstallError| match error {
        InstallError::Interrupted { code } => Failure::quiet(code),
        error => {
            let failure = Failure::of(&error)
                .reason_for(format!("an init and an ssh server were not installed in VM `{name}`"));
            let failure = match error {
                InstallError::Failed { .. } if is_kept => failure.with_hint(format!(
                    "`banger vm exec --user root {name} -- cat {LOG}` shows the full log"
                )),
                _ => failure,
            };
            if is_kept { failure.with_hint(format!("`banger vm delete {name}` deletes it")) } else { failure }
        }
    };
    let interrupt = Interrupt::default();
    let mut guest = Guest { daemon: &mut *daemon, vm: &reference, interrupt: &interrupt };
    let installed = {
        let _caught = interrupt.catch(signals);
        guest.install(&progress)
    };
    installed.map_err(failed)?;
    progress.stage("restarting");
    let started = daemon.call(&Restart { vm: reference, early })?;
    follow(daemon, started, Some(signals), &progress).map_err(|error: FollowError| {
        Failure::from(error).with_hint(format!("`banger vm logs {name}` shows its console"))
    })
}

/// A guest, as root sees it.
struct Guest<'a> {
    daemon: &'a mut Daemon,
    vm: &'a VmRef,
    interrupt: &'a Interrupt,
}

impl Guest<'_> {
    fn install(&mut self, progress: &Progress) -> Result<(), InstallError> {
        progress.stage("detecting the distribution");
        let release = self.run(&["/bin/sh", "-c", OS_RELEASE])?;
        match release.exit {
            Exit::Code(0) => {}
            Exit::NotStarted { .. } => return Err(InstallError::NoShell),
            _ => return Err(InstallError::NoRelease),
        }
        let commands = plan(&String::from_utf8_lossy(&release.stdout)).map_err(InstallError::Unknown)?;
        for command in commands {
            let shown = command.join(" ");
            progress.stage(&shown);
            let done = self.run(&[&["/bin/sh", "-c", LOGGED, LOG][..], &command].concat())?;
            let end = match done.exit {
                Exit::Code(0) => continue,
                Exit::Code(127) => "does not exist".to_owned(),
                Exit::Code(code) => format!("ended with {code}"),
                Exit::Signal(signal) => format!("was ended by signal {signal}"),
                Exit::NotStarted { .. } => return Err(InstallError::NoShell),
            };
            return Err(InstallError::Failed { command: shown, end, said: self.last_words() });
        }
        let has_init = self.run(&["/bin/sh", "-c", HAS_INIT])?.exit == Exit::Code(0);
        if has_init { Ok(()) } else { Err(InstallError::NoInit) }
    }

    /// The end of the log, if that can be had.
    fn last_words(&mut self) -> Vec<String> {
        let read =
            self.run(&["/bin/sh", "-c", "cat \"$0\"", LOG]).map(|done| done.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&read);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(TOLD);
        lines[from..].iter().map(|line| said(line)).collect()
    }

    fn run(&mut self, argv: &[&str]) -> Result<Done, InstallError> {
        let stopped = |interrupt: &Interrupt| match interrupt.caught() {
            Some(code) => Err(InstallError::Interrupted { code }),
            None => Ok(()),
        };
        stopped(self.interrupt)?;
        let connected = self.daemon.call_receiving(&Connect { vm: self.vm.clone() });
        let agent = UnixStream::from(connected.map_err(InstallError::Daemon)?.1);
        self.interrupt.breaks(&agent);
        stopped(self.interrupt)?;
        let env: BTreeMap<_, _> = QUIETLY.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let exec = Exec {
            argv: argv.iter().map(ToString::to_string).collect(),
            env,
            cwd: Some("/".to_owned()),
            user: Some("root".to_owned()),
            terminal: None,
            stdin: false,
        };
        let done = run_task(agent, &exec, Input::None);
        stopped(self.interrupt)?;
        done.map_err(InstallError::Guest)
    }
}
