//! Which request is answered how, in which phase.

use super::answer::{Answer, Fault, Then};
use super::body::{self, Action, ActionType, StateType, VmState};
use super::command_line::Verbosity;
use super::http::{Method, Request};
use super::log::Log;
use super::machine::Machine;
use super::metrics::Metrics;
use super::{VERSION, machine};
use crate::guest::Guest;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// One Firecracker process.
#[derive(Debug)]
pub(super) struct Vmm {
    id: String,
    phase: Phase,
    machine: Machine,
    /// The guest's end of the machine.
    guest_end: UnixStream,
    log: Log,
    metrics: Metrics,
}

#[derive(Debug)]
enum Phase {
    NotStarted,
    Running(Option<Arc<Guest>>),
    Paused(Option<Arc<Guest>>),
}

/// What a request asks for, once it is understood.
#[derive(Debug)]
enum Call {
    Instance,
    Version,
    Part(Part),
    Action(ActionType),
    State(StateType),
}

/// One part of the machine.
#[derive(Debug)]
enum Part {
    Config(body::MachineConfig),
    Boot(body::BootSource),
    Drive(body::Drive),
    Interface(body::Interface),
    Vsock(body::Vsock),
    Entropy(body::Entropy),
    Serial(body::Serial),
}

impl Vmm {
    pub(super) fn new(id: String, guest_end: UnixStream, log: Log, metrics: Metrics) -> Self {
        Self { id, phase: Phase::NotStarted, machine: Machine::default(), guest_end, log, metrics }
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        let answered = understand(request).and_then(|call| self.perform(call));
        answered.unwrap_or_else(|fault| {
            let line = format!("Received Error. Status code: 400 Bad Request. Message: {fault}");
            self.log.tell(Verbosity::Faults, "fc_api", &line);
            Answer::fault(&fault)
        })
    }

    /// The last thing that is said.
    pub(super) fn tell_end(&mut self) {
        self.log.tell(Verbosity::Everything, "main", "Firecracker exiting successfully. exit_code=0");
    }

    /// Ends the process.
    pub(super) fn turn_off(&self) {
        let _ = (&self.guest_end).write_all(&[0]);
    }

    fn perform(&mut self, call: Call) -> Result<Answer, Fault> {
        match call {
            Call::Instance => Ok(self.instance()),
            Call::Version => Ok(Answer::with(&json!({"firecracker_version": VERSION}))),
            Call::Part(part) => self.take(part),
            Call::Action(ActionType::InstanceStart) => self.start(),
            Call::Action(ActionType::FlushMetrics) => match self.phase {
                Phase::NotStarted => Err(Fault::NotBefore),
                Phase::Running(_) | Phase::Paused(_) => {
                    self.metrics.write_line();
                    Ok(Answer::done())
                }
            },
            Call::State(state) => self.switch(state),
        }
    }

    fn instance(&self) -> Answer {
        let state = match self.phase {
            Phase::NotStarted => "Not started",
            Phase::Running(_) => "Running",
            Phase::Paused(_) => "Paused",
        };
        let (id, version) = (&self.id, VERSION);
        Answer::with(&json!({"id": id, "state": state, "vmm_version": version, "app_name": "Firecracker"}))
    }

    fn take(&mut self, part: Part) -> Result<Answer, Fault> {
        if let Phase::Running(_) | Phase::Paused(_) = self.phase {
            return Err(match part {
                Part::Drive(_) | Part::Interface(_) => Fault::NoPci,
                _ => Fault::NotAfter,
            });
        }
        let machine = &mut self.machine;
        match part {
            Part::Config(config) => machine.configure(config),
            Part::Boot(boot) => machine.take_boot_source(boot),
            Part::Drive(drive) => machine.take_drive(drive),
            Part::Interface(interface) => machine.take_interface(interface),
            Part::Vsock(vsock) => machine.take_vsock(&vsock),
            Part::Entropy(_) => {
                machine.entropy = true;
                Ok(())
            }
            Part::Serial(serial) => {
                machine.console = serial.serial_out_path;
                Ok(())
            }
        }?;
        Ok(Answer::done())
    }

    fn start(&mut self) -> Result<Answer, Fault> {
        let Phase::NotStarted = self.phase else { return Err(Fault::NotAfter) };
        let machine::Started { guest, ends } = self.machine.start(&self.guest_end)?;
        self.phase = Phase::Running(guest);
        self.metrics.write_line();
        let then = if ends { Then::TurnOff } else { Then::GoOn };
        Ok(Answer { then, ..Answer::done() })
    }

    /// Pausing what is paused and resuming what runs is no fault.
    fn switch(&mut self, to: StateType) -> Result<Answer, Fault> {
        let guest = match &self.phase {
            Phase::NotStarted => return Err(Fault::NotBefore),
            Phase::Running(guest) | Phase::Paused(guest) => guest.clone(),
        };
        let paused = matches!(to, StateType::Paused);
        if let Some(guest) = &guest {
            guest.hold(paused);
        }
        self.phase = if paused { Phase::Paused(guest) } else { Phase::Running(guest) };
        Ok(Answer::done())
    }
}

fn understand(request: &Request) -> Result<Call, Fault> {
    let mut words = request.path.trim_start_matches('/').split_terminator('/');
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    let unknown = || Fault::Path { method: request.method.as_str(), path: first.to_owned() };
    let body = match (request.method, &request.body) {
        (Method::Get, Some(_)) => return Err(Fault::GetWithBody),
        (Method::Get, None) => {
            return match first {
                "" => Ok(Call::Instance),
                "version" => Ok(Call::Version),
                _ => Err(unknown()),
            };
        }
        (Method::Put | Method::Patch, Some(body)) => body,
        (Method::Put | Method::Patch, None) => return Err(Fault::Empty(request.method.as_str())),
        (Method::Delete, _) => return Err(unknown()),
    };
    let call = match (request.method, first) {
        (Method::Put, "machine-config") => Call::Part(Part::Config(parse(body)?)),
        (Method::Put, "boot-source") => Call::Part(Part::Boot(parse(body)?)),
        (Method::Put, "drives") => Call::Part(Part::Drive(drive(second, body)?)),
        (Method::Put, "network-interfaces") => Call::Part(Part::Interface(interface(second, body)?)),
        (Method::Put, "vsock") => Call::Part(Part::Vsock(parse(body)?)),
        (Method::Put, "entropy") => Call::Part(Part::Entropy(parse(body)?)),
        (Method::Put, "serial") => Call::Part(Part::Serial(parse(body)?)),
        (Method::Put, "actions") => Call::Action(parse::<Action>(body)?.action_type),
        (Method::Patch, "vm") => Call::State(parse::<VmState>(body)?.state),
        _ => return Err(unknown()),
    };
    Ok(call)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(Fault::Json)
}

fn drive(id: Option<&str>, body: &[u8]) -> Result<body::Drive, Fault> {
    let id = check_id(id)?;
    let drive: body::Drive = parse(body)?;
    if drive.drive_id != id {
        return Err(Fault::OtherDrive);
    }
    Ok(drive)
}

fn interface(id: Option<&str>, body: &[u8]) -> Result<body::Interface, Fault> {
    let id = check_id(id)?;
    let interface: body::Interface = parse(body)?;
    if interface.iface_id != id {
        return Err(Fault::OtherInterface { path: id.to_owned(), body: interface.iface_id });
    }
    Ok(interface)
}

/// The id in a path, which is looked at before the body is.
fn check_id(id: Option<&str>) -> Result<&str, Fault> {
    match id {
        None | Some("") => Err(Fault::NoId),
        Some(id) if id.chars().all(|c| c == '_' || c.is_alphanumeric()) => Ok(id),
        Some(_) => Err(Fault::Id),
    }
}
