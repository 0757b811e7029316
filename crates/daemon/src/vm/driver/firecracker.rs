//! Firecracker: the process first, then over its API what machine it shall be, then that machine's start.

use super::{DriverError, Parts, command_line, first_end};
use crate::Services;
use crate::store::VmRecord;
use crate::vm::effect::{Effect, perform};
use crate::vm::vmm::{Kvm, Vmm};
use banger_firecracker::{
    ApiError, Cache, Client, ConnectError, DeviceName, Drive, Engine, Machine, Network, State, Vsock,
};
use banger_protocol::root_api::{
    Disk, FirecrackerFiles, FirecrackerSpec, GUEST_CID, MacAddress, ProcessIdentity, Program, VSOCK_SOCKET,
};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

pub(super) async fn launch(
    services: &Arc<Services>,
    vm: &VmRecord,
    parts: Parts,
) -> Result<ProcessIdentity, DriverError> {
    let Parts { disks, shared, own_initrd } = parts;
    let folder = File::open(services.state.vm(&vm.id)).map(OwnedFd::from).map_err(DriverError::Folder)?;
    let machine = machine(vm, &disks, own_initrd);
    let program = Program::Firecracker(FirecrackerSpec { vcpu: vm.spec.vcpu, memory: vm.spec.memory, disks });
    let descriptors = std::iter::once(folder).chain(shared).collect();
    let vmm = perform(services, &vm.id, Effect::StartProcess { program, descriptors }).await?;
    let vmm = vmm.expect("starting a process tells which one it is");
    perform(services, &vm.id, Effect::BootMachine { vmm, machine }).await?;
    Ok(vmm)
}

/// Why a Firecracker's machine is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(in crate::vm) enum FirecrackerError {
    #[error(transparent)]
    Connect(ConnectError),
    #[error("it ended before its machine was started")]
    Ended,
    #[error(transparent)]
    Api(ApiError),
}

impl FirecrackerError {
    /// What the user can do about what Firecracker complains of.
    pub(in crate::vm) fn hint(&self, kvm: Kvm) -> Option<String> {
        let Self::Api(error) = self else { return None };
        match error.call().path.split('/').nth(1) {
            Some("actions") if kvm == Kvm::NoHardware => {
                Some("this host runs guests in emulation only: `vmm = \"qemu\"` in config.toml".to_owned())
            }
            Some("actions") => kvm.hint().map(str::to_owned),
            Some("network-interfaces") if !crate::doctor::tun_opens() => {
                Some(crate::doctor::TUN_HINT.to_owned())
            }
            _ => None,
        }
    }
}

/// Tells a Firecracker what machine it is and starts it, unless it runs already.
pub(in crate::vm) async fn boot(
    folder: &Path,
    vmm: ProcessIdentity,
    machine: &Machine,
) -> Result<(), FirecrackerError> {
    let work = async {
        let mut client = Client::connect_when_up(folder).await.map_err(FirecrackerError::Connect)?;
        if client.instance().await.map_err(FirecrackerError::Api)?.state != State::NotStarted {
            return Ok(());
        }
        client.configure(machine).await.map_err(FirecrackerError::Api)?;
        client.start().await.map_err(FirecrackerError::Api)
    };
    let process = [vmm];
    tokio::select! {
        // In this order: what it answered before it ended says more than its end.
        biased;
        outcome = work => outcome,
        () = first_end(&process) => Err(FirecrackerError::Ended),
    }
}

/// The machine of a VM. Pure.
fn machine(vm: &VmRecord, disks: &[Disk], own_initrd: bool) -> Machine {
    let drive = |(disk, path): (&Disk, String)| Drive {
        name: name(disk.role.as_str()),
        path,
        read_only: disk.read_only(),
        cache: Cache::Writeback,
        engine: Engine::Sync,
    };
    Machine {
        // More than it takes it refuses itself.
        vcpu: u8::try_from(vm.spec.vcpu).unwrap_or(u8::MAX),
        memory_mib: vm.spec.memory.as_mib(),
        kernel: FirecrackerFiles::descriptor(FirecrackerFiles::KERNEL),
        initrd: Some(FirecrackerFiles::descriptor(FirecrackerFiles::INITRD)),
        boot_args: command_line(Vmm::Firecracker, disks, own_initrd),
        drives: disks.iter().zip(FirecrackerFiles::of_disks(disks)).map(drive).collect(),
        network: Some(Network {
            name: name("eth0"),
            tap: vm.id.tap_name(),
            mac: MacAddress::of_guest(vm.address).0,
        }),
        vsock: Some(Vsock { cid: GUEST_CID, socket: FirecrackerFiles::in_folder(VSOCK_SOCKET) }),
        entropy: true,
        console: None,
    }
}

fn name(word: &str) -> DeviceName {
    DeviceName::new(word).expect("a role and an interface are words of letters and digits")
}
