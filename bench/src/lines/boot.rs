//! `vm run --rm -- true` against the same machine booted by hand, with the same kernel, initrd and disks.
//!
//! "By hand" is from starting the VMM to the answer. The command's time has more in it: making the VM before, and
//! taking everything down after. What our own processes work meanwhile is read from the kernel's accounts of them, in
//! hundredths of a second.

use crate::figure::{Line, Target, Value as Figure};
use crate::inside::boot::{MACHINE, TAP, Vmm};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use banger_e2e::Sandbox;
use banger_protocol::root_api::API_SOCKET;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TURNS: usize = 3;
/// A guest's disks beside the shared ones.
const OWN: [&str; 3] = ["cow.img", "work.img", "config.img"];

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_image();
    sandbox.configure("root_disk = \"guest-snapshot\"\n");
    let machine = Machine::take_down(&sandbox)?;
    let (mut ours, mut work, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let before = worked(&sandbox)?;
        let took = sandbox.banger(["vm", "run", "--rm", "--", "true"]).time();
        let worked = worked(&sandbox)?.saturating_sub(before);
        let other = machine.boot(&sandbox, turn)?;
        if turn > 0 {
            ours.push(took);
            work.push(worked);
            by_hand.push(other);
        }
    }
    let (ours, work, by_hand) = (Samples::new(ours), Samples::new(work), Samples::new(by_hand));
    let reference = match machine.vmm {
        Vmm::Qemu { .. } => "QEMU by hand",
        Vmm::Firecracker { .. } => "Firecracker by hand",
    };
    Ok(vec![
        Line::new("run", "`vm run --rm -- true`", ours.median(), Target::AtMostTimes(1.15))
            .against(reference, by_hand.median()),
        Line::new(
            "run.cpu",
            "  CPU of our own processes",
            work.median(),
            Target::AtMost(Figure::Milliseconds(150.0)),
        )
        .against(reference, by_hand.median()),
    ])
}

/// A machine that banger made, as files and command lines.
struct Machine {
    /// Where a fresh copy of its disks is made.
    folder: PathBuf,
    vmm: Vmm,
    seed: PathBuf,
    config: Vec<u8>,
    cow: u64,
}

impl Machine {
    /// Has banger start a VM, and takes down what it did.
    fn take_down(sandbox: &Sandbox) -> Result<Self> {
        drop(sandbox.banger(["vm", "create", "--name", "pattern"]).run().expect_success());
        let shown = sandbox.json(&["vm", "show", "pattern"]);
        let field = |name: &str| shown[name].as_str().map(str::to_owned).context("a field of the VM");
        let image = sandbox.state().join("images").join(field("image")?);
        let kernel = sandbox.state().join("kernels").join(field("kernel")?);
        let own = sandbox.state().join("vms").join(field("id")?);
        let files = Files {
            kernel: kernel.join("vmlinux"),
            initrd: kernel.join("initrd.img"),
            disks: [("base", image.join("rootfs.ext4")), ("modules", kernel.join("modules.ext4"))],
        };
        let vmm = match sandbox.running("firecracker").first() {
            Some(firecracker) => firecracker_of(firecracker.pid, &own)?,
            None => Vmm::Qemu {
                backend: words_of(sandbox, "vhost-device-vsock")?,
                command: with_files(words_of(sandbox, "qemu-system-x86_64")?, &files)?,
            },
        };
        let (config, cow) =
            (std::fs::read(own.join("config.img"))?, std::fs::metadata(own.join("cow.img"))?.len());
        drop(sandbox.banger(["vm", "delete", "pattern"]).run().expect_success());
        let folder = sandbox.home().join("by-hand");
        Ok(Self { folder, vmm, seed: image.join("work-seed.ext4"), config, cow })
    }

    fn boot(&self, sandbox: &Sandbox, turn: usize) -> Result<Duration> {
        let folder = self.folder.with_extension(turn.to_string());
        std::fs::create_dir(&folder)?;
        let [cow, work, config] = OWN.map(|name| folder.join(name));
        std::fs::File::create(cow)?.set_len(self.cow)?;
        let _ =
            sandbox.tool("cp", ["--sparse=always".as_ref(), self.seed.as_os_str(), work.as_os_str()]).time();
        std::fs::write(config, &self.config)?;
        std::fs::write(folder.join(MACHINE), serde_json::to_vec(&self.vmm)?)?;
        let own = std::env::current_exe()?;
        let words = ["-r", "-n", "--"].map(AsRef::as_ref).into_iter().chain([
            own.as_os_str(),
            "inside".as_ref(),
            "boot".as_ref(),
            folder.as_os_str(),
        ]);
        let finished = sandbox.tool("unshare", words).run().expect_success();
        std::fs::remove_dir_all(&folder)?;
        let seconds = finished.stdout_text().trim().parse().context("the boot told no time")?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// What banger hands its VMM as descriptors.
struct Files {
    kernel: PathBuf,
    initrd: PathBuf,
    /// By their names in the command line.
    disks: [(&'static str, PathBuf); 2],
}

fn words_of(sandbox: &Sandbox, program: &str) -> Result<Vec<String>> {
    let processes = sandbox.running(program);
    let pid = processes.first().with_context(|| format!("no {program} is running"))?.pid;
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    let line = String::from_utf8(line).context("a command line")?;
    Ok(line.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
}

/// A Firecracker that runs in this folder, as it tells its machine itself.
fn firecracker_of(pid: u32, folder: &Path) -> Result<Vmm> {
    let asked = "GET /vm/config HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n";
    let mut api = UnixStream::connect(folder.join(API_SOCKET)).context("connecting to Firecracker's API")?;
    api.write_all(asked.as_bytes())?;
    let mut answer = BufReader::new(api);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(answer.read_line(&mut line)? > 0, "Firecracker's answer breaks off");
    }
    // What follows the headers is one value, and the connection stays open behind it.
    let told = serde_json::Deserializer::from_reader(answer).into_iter().next();
    let told: Value = told.context("Firecracker tells no machine")?.context("Firecracker's machine")?;
    let opened = |path: &str| match path.strip_prefix("/proc/self/fd/") {
        Some(number) => {
            let path = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).context("a file of its")?;
            Ok(Some(path.to_str().context("the path of a file")?.to_owned()))
        }
        None => Ok(None),
    };
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).context("Firecracker's program")?;
    Ok(Vmm::Firecracker {
        program: program.to_str().context("the path of Firecracker")?.to_owned(),
        machine: machine_with_files(in_order_of_disks(told)?, &opened)?,
    })
}

/// A machine that runs tells its drives in no order, and the guest finds them by theirs: the roles on its command line
/// say which that is. Pure.
fn in_order_of_disks(mut told: Value) -> Result<Value> {
    let words = told["boot-source"]["boot_args"].as_str().context("the kernel's command line")?;
    let roles =
        words.split(' ').find_map(|word| word.strip_prefix("banger.disks=")).context("the disks' roles")?;
    let roles: Vec<String> = roles.split(',').map(str::to_owned).collect();
    let drives = told["drives"].as_array_mut().context("the drives")?;
    drives.sort_by_key(|drive| roles.iter().position(|role| drive["drive_id"] == **role));
    Ok(told)
}

/// Firecracker's machine with a path in the place of each descriptor, and the tap that is there. Pure.
fn machine_with_files(told: Value, opened: &dyn Fn(&str) -> Result<Option<String>>) -> Result<Value> {
    Ok(match told {
        Value::Object(fields) => fields
            .into_iter()
            // Firecracker reads back nothing that is not set.
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| match key.as_str() {
                "host_dev_name" => Ok((key, TAP.into())),
                _ => Ok((key, machine_with_files(value, opened)?)),
            })
            .collect::<Result<_>>()?,
        Value::Array(values) => {
            values.into_iter().map(|value| machine_with_files(value, opened)).collect::<Result<_>>()?
        }
        Value::String(text) => opened(&text)?.unwrap_or(text).into(),
        value => value,
    })
}

/// QEMU's command line with a path in the place of each descriptor. Pure.
fn with_files(words: Vec<String>, files: &Files) -> Result<Vec<String>> {
    let shown = |path: &Path| path.display().to_string();
    let mut replaced = vec![
        ("/proc/self/fd/3".to_owned(), shown(&files.kernel)),
        ("/proc/self/fd/4".to_owned(), shown(&files.initrd)),
        ("tap,id=network,fd=5".to_owned(), format!("tap,id=network,ifname={TAP},script=no,downscript=no")),
    ];
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word != "-add-fd" {
            kept.push(word);
            continue;
        }
        // `fd=6,set=6,opaque=base`
        let given = words.next().context("-add-fd takes a value")?;
        let key = |key: &str| given.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let (set, name) = (key("set").context("no set")?, key("opaque").context("no name")?);
        let file = files.disks.iter().find(|(disk, _)| *disk == name).context("an unknown disk")?;
        replaced.push((format!("/dev/fdset/{set}"), shown(&file.1)));
    }
    for word in &mut kept {
        for (from, to) in &replaced {
            *word = word.replace(from, to);
        }
        ensure!(!word.contains("/fd/") && !word.contains("fdset"), "a descriptor is left: {word}");
    }
    Ok(kept)
}

/// Processor time so far of the daemon, of its helper, and of every command that was run and has ended.
fn worked(sandbox: &Sandbox) -> Result<Duration> {
    let own = std::fs::read_to_string("/proc/self/stat")?;
    let mut ticks = ticks(&own, 13..15).context("our own account")?;
    for program in ["bangerd", "bangerd-root"] {
        for process in sandbox.running(program) {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid))?;
            ticks += self::ticks(&stat, 11..13).context("a process's account")?;
        }
    }
    // USER_HZ is 100 on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

/// The sum of some fields of a `/proc/<pid>/stat` (proc_pid_stat(5)), counted from the one behind the name.
fn ticks(stat: &str, fields: std::ops::Range<usize>) -> Option<u64> {
    let fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(fields.start).take(fields.len());
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_descriptor_of_a_command_line_becomes_a_file() {
        let words = "qemu -kernel /proc/self/fd/3 -initrd /proc/self/fd/4 -add-fd fd=6,set=6,opaque=base \
                     -blockdev file.filename=/dev/fdset/6 -netdev tap,id=network,fd=5";
        let files = Files {
            kernel: "/k".into(),
            initrd: "/i".into(),
            disks: [("base", "/b".into()), ("modules", "/m".into())],
        };
        let replaced =
            with_files(words.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect(), &files);
        assert_eq!(
            replaced.expect("it is understood").join(" "),
            "qemu -kernel /k -initrd /i -blockdev file.filename=/b \
             -netdev tap,id=network,ifname=bench0,script=no,downscript=no"
        );
        let unknown = vec!["-kernel".to_owned(), "/proc/self/fd/9".to_owned()];
        assert!(with_files(unknown, &files).is_err());
    }

    #[test]
    fn a_machine_that_firecracker_tells_becomes_one_it_can_be_given() {
        let told = serde_json::json!({
            "balloon": null,
            "boot-source": { "kernel_image_path": "/proc/self/fd/3", "boot_args": "quiet banger.disks=base,cow" },
            "drives": [
                { "drive_id": "cow", "path_on_host": "cow.img", "is_read_only": false },
                { "drive_id": "base", "path_on_host": "/proc/self/fd/5", "is_read_only": true },
            ],
            "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": "bt0123456789ab" }],
        });
        let opened =
            |path: &str| Ok(path.strip_prefix("/proc/self/fd/").map(|number| format!("/file-{number}")));
        assert_eq!(
            machine_with_files(in_order_of_disks(told).expect("it has disks"), &opened)
                .expect("it is understood"),
            serde_json::json!({
                "boot-source": { "kernel_image_path": "/file-3", "boot_args": "quiet banger.disks=base,cow" },
                "drives": [
                    { "drive_id": "base", "path_on_host": "/file-5", "is_read_only": true },
                    { "drive_id": "cow", "path_on_host": "cow.img", "is_read_only": false },
                ],
                "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": TAP }],
            })
        );
    }

    #[test]
    fn the_account_of_a_process_is_read_behind_its_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(ticks(stat, 11..13), Some(11 + 12));
        assert_eq!(ticks(stat, 13..15), Some(13 + 14));
    }
}
