//! Which VM a user means. Pure.

use crate::store::VmRecord;
use banger_config::probably_meant;
use banger_protocol::names::VmRef;
use banger_protocol::wire::{ErrorKind, RpcError};

/// The VM with that name, that id, or the only one whose id starts so; a name goes before an id.
pub(crate) fn resolve(vms: Vec<VmRecord>, reference: &VmRef) -> Result<VmRecord, RpcError> {
    let wanted = reference.0.as_str();
    let meant = probably_meant(wanted, vms.iter().map(|vm| vm.name.as_str())).map(str::to_owned);
    let not_found = || {
        RpcError::new(ErrorKind::NotFound, format!("VM `{}` not found", wanted.escape_debug())).with_hint(
            match meant {
                Some(name) => format!("did you mean `{name}`? `banger vm list` lists all VMs"),
                None => "`banger vm list` lists all VMs".to_owned(),
            },
        )
    };
    if let Some(found) = vms.iter().find(|vm| vm.name.as_str() == wanted || vm.id.as_str() == wanted) {
        return Ok(found.clone());
    }
    let mut starting_so =
        vms.into_iter().filter(|vm| !wanted.is_empty() && vm.id.as_str().starts_with(wanted));
    match (starting_so.next(), starting_so.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let message = format!(
                "`{wanted}` could be {} ({}) or {} ({})",
                first.name, first.id, second.name, second.id
            );
            Err(RpcError::new(ErrorKind::NotFound, message).with_hint("use a longer prefix, or the VM name"))
        }
        (None, _) => Err(not_found()),
    }
}
