//! A process of one of the programs, in a folder of its own, ended with the test.

use crate::ask::{Answer, ask};
use crate::kernel::{self, Then};
use crate::programs::Program;
use banger_firecracker::{API_SOCKET, Cache, Client, DeviceName, Drive, Engine, Machine, Network, Vsock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use tempfile::TempDir;

pub(crate) const METRICS: &str = "metrics.log";

#[derive(Debug)]
pub(crate) struct Vmm {
    pub(crate) program: Program,
    folder: PathBuf,
    child: Child,
    _place: TempDir,
}

impl Vmm {
    /// A process that listens.
    pub(crate) async fn start(program: &Program) -> Self {
        Self::start_in(program, "vm").await
    }

    /// The same in a folder below the test's.
    pub(crate) async fn start_in(program: &Program, below: &str) -> Self {
        let vmm = Self::launch(program, below);
        drop(vmm.client().await);
        vmm
    }

    /// A process that may not listen yet.
    pub(crate) fn launch(program: &Program, below: &str) -> Self {
        let place = tempfile::Builder::new().prefix("bgr").tempdir().unwrap();
        let folder = place.path().join(below);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, content) in [
            ("vmlinux", kernel::elf(Then::Stands)),
            ("vmlinux-off", kernel::elf(Then::TurnsOff)),
            ("initrd", b"initrd".to_vec()),
            ("root.img", vec![0; 4096]),
            ("work.img", b"{}".to_vec()),
        ] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let words =
            ["--api-sock", API_SOCKET, "--id", "test-vm", "--log-path", "log", "--metrics-path", METRICS];
        let child = run(program, &folder, &words);
        Self { program: program.clone(), folder, child, _place: place }
    }

    pub(crate) async fn client(&self) -> Client {
        let up = Client::connect_when_up(&self.folder).await;
        up.unwrap_or_else(|error| panic!("{:?}: {error}; it said {:?}", self.program, self.said("stderr")))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        ask(&self.folder.join(API_SOCKET), method, path, body.as_ref())
    }

    /// Asks what must be done.
    #[track_caller]
    pub(crate) fn does(&self, method: &str, path: &str, body: &str) {
        let answer = self.ask(method, path, body);
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (204, ""),
            "{method} {path} {body}: {:?}",
            self.program
        );
    }

    /// Asks what must be refused, in words that these are part of.
    #[track_caller]
    pub(crate) fn refuses(&self, method: &str, path: &str, body: impl AsRef<[u8]>, words: &str) {
        let body = body.as_ref();
        let fault = self.ask(method, path, body).fault();
        let asked = String::from_utf8_lossy(&body[..body.len().min(200)]);
        assert!(fault.contains(words), "{:?} answers {method} {path} {asked} with: {fault}", self.program);
    }

    /// A whole machine, less what a test is about.
    pub(crate) fn machine(&self) -> Machine {
        let drive = |name: &str, read_only| Drive {
            name: DeviceName::new(name).unwrap(),
            path: format!("{name}.img"),
            read_only,
            cache: Cache::Writeback,
            engine: Engine::Sync,
        };
        Machine {
            vcpu: 1,
            memory_mib: 64,
            kernel: "vmlinux".to_owned(),
            initrd: Some("initrd".to_owned()),
            boot_args: "console=ttyS0 banger.disks=root,work".to_owned(),
            drives: vec![drive("root", true), drive("work", false)],
            network: Some(Network {
                name: DeviceName::new("network").unwrap(),
                tap: self.program.tap().to_owned(),
                mac: [2, 0xfc, 172, 16, 0, 2],
            }),
            vsock: Some(Vsock { cid: 3, socket: "v.sock".to_owned() }),
            entropy: true,
            console: None,
        }
    }

    pub(crate) fn said(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a program as banger does: in the VM's folder, with what it says going into files there.
pub(crate) fn run(program: &Program, folder: &Path, arguments: &[&str]) -> Child {
    let output = |name| File::options().append(true).create(true).open(folder.join(name)).unwrap();
    let mut command = program.command();
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(output("stdout")).stderr(output("stderr")).spawn().unwrap()
}
