//! A machine, and the requests that describe it to Firecracker; pure.
//!
//! Paths are taken as Firecracker finds them: relative ones from its working directory. Give it the same relative
//! names for every VM, so that one's snapshot can be another's.

use crate::error::{Call, Method};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fmt;

/// A machine as banger asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Firecracker takes 1 to 32.
    pub vcpu: u8,
    pub memory_mib: u64,
    /// An uncompressed ELF file.
    pub kernel: String,
    pub initrd: Option<String>,
    /// The kernel command line. Firecracker adds `pci=off` and some 35 bytes for each device to it, and starts no
    /// machine for which that comes to more than 2047.
    pub boot_args: String,
    /// In the order in which the guest numbers them: the first is `vda`.
    pub drives: Vec<Drive>,
    pub network: Option<Network>,
    pub vsock: Option<Vsock>,
    /// A source of random numbers for the guest.
    pub entropy: bool,
    /// Where the guest's console goes, from 1.14.0 on; to Firecracker's standard output when it is nowhere. The file
    /// is made, or written over from its beginning: not appended to.
    pub console: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    pub name: DeviceName,
    pub path: String,
    pub read_only: bool,
    pub cache: Cache,
    pub engine: Engine,
}

/// What a guest's flush does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Nothing; the guest is told that there is no flush.
    Unsafe,
    /// Writes the file to the host's disk.
    Writeback,
}

/// How Firecracker reads and writes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One request after the other.
    Sync,
    /// With `io_uring`, which not every host allows.
    Async,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub name: DeviceName,
    pub tap: String,
    pub mac: [u8; 6],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// The guest's address; 3 is the first that is free.
    pub cid: u32,
    /// Where Firecracker listens for the host. The file must not exist, and is not removed at the end.
    pub socket: String,
}

/// What Firecracker calls a device by: ASCII letters, digits and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device name: use letters, digits, and underscores")]
pub struct InvalidName(String);

impl DeviceName {
    /// # Errors
    /// When it has other characters, or none. It becomes part of a request's path.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return Err(InvalidName(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One call and what it carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub call: Call,
    pub body: Option<Value>,
}

impl Machine {
    /// The requests that describe this machine to a Firecracker that has none yet.
    ///
    /// What writes about the machine comes first, and then what is cheap to refuse before what opens files.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut put = |path: Cow<'static, str>, body: Value| {
            requests.push(Request { call: Call { method: Method::Put, path }, body: Some(body) });
        };
        if let Some(file) = &self.console {
            put("/serial".into(), json!({"serial_out_path": file}));
        }
        put("/machine-config".into(), json!({"vcpu_count": self.vcpu, "mem_size_mib": self.memory_mib}));
        put("/boot-source".into(), self.boot_source());
        for drive in &self.drives {
            put(format!("/drives/{}", drive.name).into(), drive.body());
        }
        if let Some(network) = &self.network {
            put(format!("/network-interfaces/{}", network.name).into(), network.body());
        }
        if let Some(Vsock { cid, socket }) = &self.vsock {
            put("/vsock".into(), json!({"guest_cid": cid, "uds_path": socket}));
        }
        if self.entropy {
            put("/entropy".into(), json!({}));
        }
        requests
    }

    fn boot_source(&self) -> Value {
        let mut body = Map::new();
        body.insert("kernel_image_path".to_owned(), self.kernel.as_str().into());
        body.insert("boot_args".to_owned(), self.boot_args.as_str().into());
        if let Some(initrd) = &self.initrd {
            body.insert("initrd_path".to_owned(), initrd.as_str().into());
        }
        Value::Object(body)
    }
}

impl Drive {
    fn body(&self) -> Value {
        json!({
            "drive_id": self.name.0,
            "path_on_host": self.path,
            // What that means is an addition to the kernel command line, `root=/dev/vda`. Which disk the root is,
            // our initrd decides.
            "is_root_device": false,
            "is_read_only": self.read_only,
            "cache_type": match self.cache { Cache::Unsafe => "Unsafe", Cache::Writeback => "Writeback" },
            "io_engine": match self.engine { Engine::Sync => "Sync", Engine::Async => "Async" },
        })
    }
}

impl Network {
    fn body(&self) -> Value {
        let [a, b, c, d, e, f] = self.mac;
        json!({
            "iface_id": self.name.0,
            "host_dev_name": self.tap,
            "guest_mac": format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let drive = |name: &str, read_only| Drive {
            name: DeviceName::new(name).unwrap(),
            path: format!("{name}.img"),
            read_only,
            cache: Cache::Writeback,
            engine: Engine::Sync,
        };
        Machine {
            vcpu: 2,
            memory_mib: 512,
            kernel: "vmlinux".to_owned(),
            initrd: Some("initrd".to_owned()),
            boot_args: "console=ttyS0".to_owned(),
            drives: vec![drive("root", false), drive("config", true)],
            network: Some(Network {
                name: DeviceName::new("network").unwrap(),
                tap: "bt0123456789ab".to_owned(),
                mac: [2, 0xfc, 172, 16, 0, 2],
            }),
            vsock: Some(Vsock { cid: 3, socket: "v.sock".to_owned() }),
            entropy: true,
            console: Some("console.log".to_owned()),
        }
    }

    fn lines(machine: &Machine) -> Vec<String> {
        let line = |request: Request| format!("{} {}", request.call, request.body.unwrap());
        machine.requests().into_iter().map(line).collect()
    }

    #[test]
    fn a_whole_machine_is_these_requests_in_this_order() {
        assert_eq!(
            lines(&machine()),
            [
                r#"PUT /serial {"serial_out_path":"console.log"}"#,
                r#"PUT /machine-config {"mem_size_mib":512,"vcpu_count":2}"#,
                r#"PUT /boot-source {"boot_args":"console=ttyS0","initrd_path":"initrd","kernel_image_path":"vmlinux"}"#,
                r#"PUT /drives/root {"cache_type":"Writeback","drive_id":"root","io_engine":"Sync","is_read_only":false,"is_root_device":false,"path_on_host":"root.img"}"#,
                r#"PUT /drives/config {"cache_type":"Writeback","drive_id":"config","io_engine":"Sync","is_read_only":true,"is_root_device":false,"path_on_host":"config.img"}"#,
                r#"PUT /network-interfaces/network {"guest_mac":"02:fc:ac:10:00:02","host_dev_name":"bt0123456789ab","iface_id":"network"}"#,
                r#"PUT /vsock {"guest_cid":3,"uds_path":"v.sock"}"#,
                "PUT /entropy {}",
            ]
        );
    }

    #[test]
    fn what_a_machine_does_not_have_is_not_asked_for() {
        let bare = Machine {
            initrd: None,
            drives: Vec::new(),
            network: None,
            vsock: None,
            entropy: false,
            console: None,
            ..machine()
        };
        assert_eq!(
            lines(&bare),
            [
                r#"PUT /machine-config {"mem_size_mib":512,"vcpu_count":2}"#,
                r#"PUT /boot-source {"boot_args":"console=ttyS0","kernel_image_path":"vmlinux"}"#,
            ]
        );
    }

    #[test]
    fn a_name_that_would_change_the_request_s_path_is_none() {
        for wrong in ["", "a/b", "../vm", "a b", "a\r\nb", "é", "a-b", "a?b"] {
            assert_eq!(DeviceName::new(wrong), Err(InvalidName(wrong.to_owned())));
        }
        assert_eq!(DeviceName::new("eth_0").unwrap().to_string(), "eth_0");
    }
}
