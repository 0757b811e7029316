//! QEMU: first its vsock backend, then the machine, all of which is on its command line.

use super::{DriverError, Parts, command_line};
use crate::Services;
use crate::store::VmRecord;
use crate::vm::effect::{Effect, perform};
use crate::vm::vmm::Vmm;
use crate::vm::vsock_backend::wait_until_listening;
use banger_protocol::root_api::{Acceleration, MacAddress, ProcessIdentity, Program, QemuSpec};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

fn folder(services: &Services, vm: &VmRecord) -> Result<OwnedFd, DriverError> {
    File::open(services.state.vm(&vm.id)).map(OwnedFd::from).map_err(DriverError::Folder)
}

pub(super) async fn start_vsock_backend(
    services: &Arc<Services>,
    vm: &VmRecord,
) -> Result<ProcessIdentity, DriverError> {
    let descriptors = vec![folder(services, vm)?];
    let start = Effect::StartProcess { program: Program::VsockBackend, descriptors };
    let started = perform(services, &vm.id, start).await?;
    Ok(started.expect("starting a process tells which one it is"))
}

pub(super) async fn launch(
    services: &Arc<Services>,
    acceleration: Acceleration,
    vm: &VmRecord,
    vsock_backend: Option<ProcessIdentity>,
    parts: Parts,
) -> Result<ProcessIdentity, DriverError> {
    let Parts { disks, shared, own_initrd } = parts;
    if let Some(backend) = vsock_backend {
        wait_until_listening(&services.state.vm(&vm.id), backend).await.map_err(DriverError::Backend)?;
    }
    let spec = QemuSpec {
        acceleration,
        vcpu: vm.spec.vcpu,
        memory: vm.spec.memory,
        kernel_command_line: command_line(Vmm::Qemu { acceleration }, &disks, own_initrd),
        disks,
        mac: MacAddress::of_guest(vm.address),
    };
    let descriptors = std::iter::once(folder(services, vm)?).chain(shared).collect();
    let start = Effect::StartProcess { program: Program::Qemu(spec), descriptors };
    let started = perform(services, &vm.id, start).await?;
    Ok(started.expect("starting a process tells which one it is"))
}
