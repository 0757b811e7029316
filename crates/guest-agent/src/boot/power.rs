//! How a guest switches itself off.

use rustix::system::RebootCommand;

const FADT: &str = "/sys/firmware/acpi/tables/FACP";
const FLAGS: usize = 112;
const HARDWARE_REDUCED: u32 = 1 << 20;
const SLEEP_CONTROL_ADDRESS: usize = 248;

/// What ends the VMM: a power-off where the machine has one, else a restart, which the VMM takes for the end.
pub(super) fn off() -> RebootCommand {
    let table = std::fs::read(FADT).unwrap_or_default();
    if can_power_off(&table) { RebootCommand::PowerOff } else { RebootCommand::Restart }
}

/// Whether the firmware's fixed ACPI description table (ACPI 6.5, 5.2.9) offers a soft-off: a machine without the
/// legacy registers needs a sleep control register for it.
fn can_power_off(fadt: &[u8]) -> bool {
    let Some(flags) = fadt.get(FLAGS..).and_then(<[u8]>::first_chunk) else { return false };
    let reduced = u32::from_le_bytes(*flags) & HARDWARE_REDUCED != 0;
    let control = fadt.get(SLEEP_CONTROL_ADDRESS..).and_then(<[u8]>::first_chunk);
    !reduced || control.is_some_and(|address| u64::from_le_bytes(*address) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fadt(flags: u32, control: u64) -> Vec<u8> {
        let mut table = vec![0; 276];
        table[112..116].copy_from_slice(&flags.to_le_bytes());
        table[248..256].copy_from_slice(&control.to_le_bytes());
        table
    }

    #[test]
    fn a_reduced_machine_without_a_sleep_register_cannot_be_switched_off() {
        assert!(can_power_off(&fadt(0, 0)), "a machine with the legacy registers");
        assert!(can_power_off(&fadt(HARDWARE_REDUCED, 0x600)));
        assert!(!can_power_off(&fadt(HARDWARE_REDUCED, 0)));
        assert!(!can_power_off(&[]), "no ACPI at all");
    }
}
