//! What defaults depend on.

use banger_protocol::size::ByteSize;

/// The host, as far as VMs take parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub cpus: u32,
    pub memory: ByteSize,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn look() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cpus = std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok());
        Self { cpus: cpus.unwrap_or(1), memory: total(&meminfo) }
    }

    /// A quarter of the processors, between 1 and 4.
    pub(crate) fn usual_vcpu(&self) -> u32 {
        (self.cpus / 4).clamp(1, 4)
    }

    /// An eighth of the memory, between 512 MiB and 8 GiB.
    pub(crate) fn usual_memory(&self) -> ByteSize {
        ByteSize::mib((self.memory.as_mib() / 8).clamp(512, 8 << 10))
    }
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> ByteSize {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    ByteSize::bytes(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_gets_a_part_of_the_host_within_bounds() {
        for (cpus, gib, vcpu, memory) in [(1, 1, 1, 512), (8, 16, 2, 2048), (128, 1024, 4, 8192)] {
            let machine = Machine { cpus, memory: ByteSize::mib(gib << 10) };
            assert_eq!((machine.usual_vcpu(), machine.usual_memory()), (vcpu, ByteSize::mib(memory)));
        }
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), ByteSize::mib(16));
        assert_eq!(total("nonsense"), ByteSize::bytes(0));
    }
}
