//! What requests carry: the fields that banger sends, of those that the real one knows.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineConfig {
    pub(super) vcpu_count: u8,
    pub(super) mem_size_mib: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootSource {
    pub(super) kernel_image_path: String,
    pub(super) initrd_path: Option<String>,
    pub(super) boot_args: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drive {
    pub(super) drive_id: String,
    pub(super) path_on_host: Option<String>,
    pub(super) is_root_device: bool,
    #[serde(default)]
    pub(super) is_read_only: bool,
    #[serde(default, rename = "cache_type")]
    _cache: Cache,
    #[serde(default, rename = "io_engine")]
    _engine: Engine,
}

#[derive(Debug, Default, Deserialize)]
enum Cache {
    #[default]
    Unsafe,
    Writeback,
}

#[derive(Debug, Default, Deserialize)]
enum Engine {
    Async,
    #[default]
    Sync,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) iface_id: String,
    pub(super) host_dev_name: String,
    pub(super) guest_mac: Option<Mac>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Mac(pub(super) String);

impl TryFrom<String> for Mac {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_byte = |part: &str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
        let six = text.split(':').count() == 6 && text.split(':').all(is_byte);
        if six { Ok(Self(text)) } else { Err("The provided MAC address is invalid.") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vsock {
    #[serde(rename = "guest_cid")]
    _guest_cid: u32,
    pub(super) uds_path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entropy {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serial {
    pub(super) serial_out_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    pub(super) action_type: ActionType,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ActionType {
    FlushMetrics,
    InstanceStart,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VmState {
    pub(super) state: StateType,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum StateType {
    Paused,
    Resumed,
}
