//! Makes a VM: decide, reserve, start.
//!
//! Nothing is written before the request is known to be good; the reservation of name, id and address is one
//! transaction. What comes after it can fail: then the VM stays, failed, with its reason and its log, unless the
//! user called it off.

use super::network_tools::MissingTool;
use super::{delete, generated_name, keys, start, view};
use crate::Services;
use crate::image::no_agent_inside;
use crate::operation::Ended;
use crate::serve::Client;
use crate::store::{ImageRecord, KernelRecord, LeaseHolder, NewVm, ReserveError, VmRecord, VmSpec};
use banger_config::{Machine, VmDefaults};
use banger_protocol::daemon_api::operation::OperationStarted;
use banger_protocol::daemon_api::vm::{Check, Checked, Create, Created};
use banger_protocol::ids::VmId;
use banger_protocol::size::ByteSize;
use banger_protocol::wire::{ErrorKind, RpcError};
use std::sync::Arc;

/// Below this Debian's kernel does not even unpack itself.
const LEAST_MEMORY: ByteSize = ByteSize::mib(128);
/// Room for a journal and somebody's files.
const LEAST_DISK: ByteSize = ByteSize::mib(256);
/// Half of what one file can have on the file systems that state folders lie on.
const MOST_DISK: ByteSize = ByteSize::mib(8 << 20);
const NAME_ATTEMPTS: u32 = 50;

/// Reserves the VM and starts the operation that brings it up.
pub(crate) fn create(
    services: &Arc<Services>,
    client: &Client,
    request: Create,
) -> Result<Created, RpcError> {
    let vm = reserve(services, client, &request)?;
    let (id, name) = (vm.id.clone(), vm.name.clone());
    let operation = services.operations.start("vm.create", name.to_string(), |handle| {
        let (services, id) = (services.clone(), id.clone());
        async move {
            if request.no_start {
                return Ok(view::of(&vm));
            }
            match start::start(&services, &id, request.early, &handle).await {
                Err(Ended::Cancelled) if !handle.is_called_off() => {
                    delete::remove(&services, &id).await?;
                    Err(Ended::Cancelled)
                }
                outcome => outcome,
            }
        }
    });
    if request.lease {
        client.hold(id.clone(), operation.clone());
    }
    Ok(Created { operation: OperationStarted { operation }, id, name })
}

/// Says what speaks against a VM before anybody makes an image for it.
pub(crate) fn check(services: &Services, request: &Check) -> Result<Checked, RpcError> {
    let spec = decide_spec(request, defaults(services), &Machine::look())?;
    check_tools(services, spec.nat)?;
    match &request.name {
        Some(name) if services.store.has_vm_named(name)? => {
            Err(refusal(ReserveError::NameTaken(name.clone())))
        }
        _ => Ok(Checked {}),
    }
}

/// Whether this host can give a guest its network.
pub(super) fn check_tools(services: &Services, nat: bool) -> Result<(), RpcError> {
    let missing =
        |error: MissingTool| RpcError::from_error(ErrorKind::Unavailable, &error).with_hint(error.hint());
    services.network_tools.check(nat).map_err(missing)
}

fn reserve(services: &Services, client: &Client, request: &Create) -> Result<VmRecord, RpcError> {
    let image_name = request.image.clone().unwrap_or_else(|| services.config.default_image.value.clone());
    let image: ImageRecord = services.store.find(image_name.as_str())?.ok_or_else(|| {
        RpcError::new(ErrorKind::NotFound, format!("image `{image_name}` not found"))
            .with_hint(format!("`banger image list` lists the images on this host; `banger image pull {image_name}` pulls one from the catalog"))
    })?;
    let kernel_name = request.kernel.clone().unwrap_or(image.kernel);
    let kernel: KernelRecord = services.store.find(kernel_name.as_str())?.ok_or_else(|| {
        RpcError::new(ErrorKind::NotFound, format!("kernel `{kernel_name}` not found"))
            .with_hint(format!("`banger kernel list` lists the kernels on this host; `banger kernel pull {kernel_name}` pulls one from the catalog"))
    })?;
    if kernel.own_initrd && !image.has_agent && !image.no_agent {
        return Err(no_agent_inside(format!("no VM was created from the image `{image_name}`")));
    }
    let &Create { vcpu, memory, disk_size, nat, .. } = request;
    let wanted = Check { name: None, vcpu, memory, disk_size, nat: Some(nat) };
    let spec = decide_spec(&wanted, defaults(services), &Machine::look())?;
    check_tools(services, spec.nat)?;
    let lease = match (request.lease, client.process) {
        (false, _) => None,
        (true, Some(process)) => Some(LeaseHolder { process }),
        (true, None) => return Err(RpcError::new(ErrorKind::Refused, "the client has disconnected")),
    };
    let host_key = keys::generate().map_err(|e| RpcError::from_error(ErrorKind::OperationFailed, &e))?;
    let (mut attempt, range) = (0, services.range);
    loop {
        let new = NewVm {
            id: VmId::random(),
            name: request.name.clone().unwrap_or_else(|| generated_name::generate(attempt)),
            image: image.name.clone(),
            kernel: kernel.name.clone(),
            spec: spec.clone(),
            lease: lease.clone(),
            host_key: host_key.clone(),
            machine_id: random_machine_id(),
        };
        match services.store.reserve_vm(new, move |taken| range.next_free(taken)) {
            Ok(vm) => return Ok(vm),
            Err(ReserveError::NameTaken(_)) if request.name.is_none() && attempt < NAME_ATTEMPTS => {
                attempt += 1
            }
            Err(error) => return Err(refusal(error)),
        }
    }
}

fn refusal(error: ReserveError) -> RpcError {
    match &error {
        ReserveError::NameTaken(name) => RpcError::from_error(ErrorKind::AlreadyExists, &error)
            .with_hint(format!("choose another name, or run `banger vm delete {name}`")),
        ReserveError::NoAddressLeft => RpcError::from_error(ErrorKind::Refused, &error)
            .with_hint("`banger vm list` lists VMs that can be deleted"),
        ReserveError::ArtefactGone => RpcError::from_error(ErrorKind::NotFound, &error)
            .with_hint("`banger image list` and `banger kernel list` list what is on this host"),
        ReserveError::Store(store) => {
            RpcError { hint: store.hint(), ..RpcError::from_error(ErrorKind::OperationFailed, &error) }
        }
    }
}

/// What the user gave, completed by the defaults and held against what the host has. Pure.
pub(super) fn decide_spec(request: &Check, defaults: VmSpec, host: &Machine) -> Result<VmSpec, RpcError> {
    let refused =
        |message: String, hint: String| Err(RpcError::new(ErrorKind::BadRequest, message).with_hint(hint));
    let spec = VmSpec {
        vcpu: request.vcpu.unwrap_or(defaults.vcpu),
        memory: request.memory.unwrap_or(defaults.memory),
        disk_size: request.disk_size.unwrap_or(defaults.disk_size),
        nat: request.nat.unwrap_or(defaults.nat),
    };
    if spec.vcpu == 0 || spec.vcpu > host.cpus {
        return refused(
            format!("cannot create a VM with {} virtual CPUs", spec.vcpu),
            format!("--vcpu takes 1 to {}, the number of CPUs of this host", host.cpus),
        );
    }
    if spec.memory < LEAST_MEMORY || spec.memory > host.memory {
        return refused(
            format!("cannot create a VM with {} of memory", spec.memory),
            format!("--memory takes {LEAST_MEMORY} to {}; a number without a unit is in MiB", host.memory),
        );
    }
    let whole = spec.disk_size.as_bytes().is_multiple_of(1 << 20);
    if !whole || spec.disk_size < LEAST_DISK || spec.disk_size > MOST_DISK {
        return refused(
            format!("cannot create a VM with a work disk of {}", spec.disk_size),
            format!(
                "--disk-size takes {LEAST_DISK} to {MOST_DISK} in whole MiB; a number without a unit is in MiB"
            ),
        );
    }
    Ok(spec)
}

fn random_machine_id() -> String {
    // 24 of the 32 digits come from two ids; the rest from a third.
    let digits: String = (0..3).map(|_| VmId::random().to_string()).collect();
    digits[..32].to_owned()
}

/// What a VM is made of that was given nothing.
fn defaults(services: &Services) -> VmSpec {
    let VmDefaults { vcpu, memory, disk_size } = &services.config.vm_defaults;
    VmSpec { vcpu: vcpu.value, memory: memory.value, disk_size: disk_size.value, nat: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_does_not_have_is_refused_with_the_range() {
        let mib = ByteSize::mib;
        let defaults = VmSpec { vcpu: 1, memory: mib(512), disk_size: mib(8192), nat: false };
        let decide =
            |request: Check| decide_spec(&request, defaults.clone(), &Machine { cpus: 4, memory: mib(8192) });
        let usual = Check::default;
        assert_eq!(decide(usual()), Ok(defaults.clone()));
        let all = Check { vcpu: Some(4), memory: Some(mib(8192)), disk_size: Some(mib(256)), ..usual() };
        assert!(decide(all).is_ok());
        for request in [
            Check { vcpu: Some(0), ..usual() },
            Check { vcpu: Some(5), ..usual() },
            Check { memory: Some(mib(1)), ..usual() },
            Check { memory: Some(mib(8193)), ..usual() },
            Check { disk_size: Some(mib(255)), ..usual() },
            Check { disk_size: Some(mib((8 << 20) + 1)), ..usual() },
            Check { disk_size: Some(ByteSize::bytes((1 << 30) + 1)), ..usual() },
        ] {
            let error = decide(request).unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadRequest);
            assert!(error.hint.is_some_and(|hint| hint.contains(" to ")));
        }
    }

    #[test]
    fn a_machine_id_is_32_hexadecimal_digits() {
        let id = random_machine_id();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }
}
