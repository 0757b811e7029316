//! QEMU: first its vsock backend, then the machine, all of which is on its command line.

use super::{DriverError, Launched, Parts, command_line};
use crate::Services;
use crate::store::VmRecord;
use crate::vm::effect::{Effect, perform};
use crate::vm::vmm::Vmm;
use crate::vm::vsock_backend::wait_until_listening;
use banger_protocol::root_api::{Acceleration, MacAddress, Program, QemuSpec};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(super) async fn launch(
    services: &Arc<Services>,
    acceleration: Acceleration,
    vm: &VmRecord,
    parts: Parts,
) -> Result<Launched, DriverError> {
    let Parts { disks, shared } = parts;
    let folder = services.state.vm(&vm.id);
    let descriptor = || File::open(&folder).map(OwnedFd::from).map_err(DriverError::Folder);
    let start = |program, descriptors| Effect::StartProcess { program, descriptors };
    let backend = perform(services, &vm.id, start(Program::VsockBackend, vec![descriptor()?])).await?;
    let backend = backend.expect("starting a process tells which one it is");
    wait_until_listening(backend).await.map_err(DriverError::Backend)?;
    let spec = QemuSpec {
        acceleration,
        vcpu: vm.spec.vcpu,
        memory: vm.spec.memory,
        kernel_command_line: command_line(Vmm::Qemu { acceleration }, &disks),
        disks,
        mac: MacAddress::of_guest(vm.address),
    };
    let descriptors = std::iter::once(descriptor()?).chain(shared).collect();
    let vmm = perform(services, &vm.id, start(Program::Qemu(spec), descriptors)).await?;
    let vmm = vmm.expect("starting a process tells which one it is");
    Ok(Launched { vmm, vsock_backend: Some(backend) })
}
