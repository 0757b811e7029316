//! Looks for what would keep banger from working. Reads only; each row says what was found and what to do.
//!
//! A daemon that runs looks at itself too ([`run`]). Where there is none, or none can be started because of what is
//! wrong, the same rows are made by a process that serves nobody ([`run_alone`], `bangerd --doctor`). The machine is
//! looked at anew each time: what was repaired since the daemon started is told as what it does not know yet.

mod host;
mod installed;
mod leftovers;
mod network;
mod programs;
mod settings;
mod state;
mod units;

pub(crate) use host::{TUN_HINT, tun_opens};

use crate::Services;
use crate::station::Station;
use banger_config::{Config, ConfigError, Machine};
use banger_protocol::daemon_api::system::{DoctorReport, DoctorRow, Verdict};
use banger_protocol::local_paths::LocalPaths;

/// With a daemon, by it.
pub(crate) fn run(services: &Services) -> DoctorReport {
    look(&services.station, &services.paths, Some(services))
}

/// Without a daemon.
pub(crate) fn run_alone(station: &Station, paths: &LocalPaths) -> DoctorReport {
    look(station, paths, None)
}

fn look(station: &Station, paths: &LocalPaths, daemon: Option<&Services>) -> DoctorReport {
    let read = Config::read(paths);
    let config = match &read {
        Ok(config) => config.clone(),
        // What else is wrong is worth telling too.
        Err(_) => match daemon {
            Some(services) => services.config.clone(),
            None => built_in(paths),
        },
    };
    let host = station.look_at_host(&config);
    let mut rows = vec![settings::file(paths, &read)];
    rows.extend(settings::programs(&host));
    rows.push(
        daemon.map_or_else(
            || state::no_daemon(station, paths),
            |services| state::daemon(services, &read, &host),
        ),
    );
    rows.extend(host::rows(&config, &host));
    match station {
        Station::Local => rows.extend(host::of_an_ordinary_user()),
        // Guests' namespaces and taps are root's there, and a daemon that opened /dev/net/tun would be confined too little.
        Station::System(install) => {
            rows.extend(installed::rows(install));
            rows.extend(units::rows());
            rows.extend(daemon.into_iter().flat_map(|services| network::rows(install, services)));
        }
    }
    rows.extend(programs::rows(station));
    let vmm = crate::vm::vmm::choose(&host, config.vmm.value, 1);
    let devices = vmm.is_ok_and(|vmm| station.gives_devices_to(vmm.name()));
    rows.extend(state::rows(paths, &config, devices, daemon));
    DoctorReport { rows, settings: settings::list(&config, &host) }
}

fn built_in(paths: &LocalPaths) -> Config {
    let parsed: Result<Config, ConfigError> = Config::parse("", paths, &Machine::look());
    parsed.expect("an empty file is a legal one")
}

fn row(verdict: Verdict, subject: &str, finding: impl Into<String>, hint: Option<&str>) -> DoctorRow {
    DoctorRow { verdict, subject: subject.to_owned(), finding: finding.into(), hint: hint.map(str::to_owned) }
}

fn pass(subject: &str, finding: impl Into<String>) -> DoctorRow {
    row(Verdict::Pass, subject, finding, None)
}
