//! `vm run --rm -- true` against the same machine booted by hand, with the same kernel, initrd and disks.
//!
//! "By hand" is from starting the VMM to the answer. The command's time has more in it: making the VM before, and
//! taking everything down after. What our own processes work meanwhile is read from the kernel's accounts of them, in
//! hundredths of a second.

use crate::emulation;
use crate::figure::{Line, Target, Value as Figure};
use crate::inside::boot::{MACHINE, TAP, Vmm};
use crate::samples::{Samples, ticks};
use anyhow::{Context as _, Result, bail, ensure};
use banger_e2e::Sandbox;
use banger_protocol::root_api::{API_SOCKET, FirecrackerFiles};
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
    let native = emulation::outside()?;
    let (mut ours, mut pieces, mut by_hand, mut emulated) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let before = worked(&sandbox)?;
        let took = sandbox.banger(["vm", "run", "--rm", "--", "true"]).time();
        let worked = worked(&sandbox)?.saturating_sub(before);
        let other = machine.boot(&sandbox, turn)?;
        let piece = Pieces::of_one(&sandbox)?;
        if turn > 0 {
            ours.push((took, worked));
            by_hand.push(other);
            pieces.push(piece);
            if native.is_some() {
                emulated.push(emulation::work_of(&sandbox.programs().join("banger"))?);
            }
        }
    }
    let took = Samples::new(ours.iter().map(|(took, _)| *took));
    let work = Samples::new(ours.iter().map(|(_, worked)| *worked));
    let answered = Samples::new(by_hand.iter().map(|other| other.answered)).median();
    let reference = match machine.vmm {
        Vmm::Qemu { .. } => "QEMU by hand",
        Vmm::Firecracker { .. } => "Firecracker by hand",
    };
    let mut lines = vec![
        Line::new("run", "`vm run --rm -- true`", took.median(), Target::AtMostTimes(1.15))
            .against(reference, answered),
    ];
    lines.extend(told(&pieces, &by_hand, reference));
    let most = Target::AtMost(Figure::Milliseconds(150.0));
    let cpu = |id, what, value, target| Line::new(id, what, value, target).against(reference, answered);
    match native.map(|native| emulation::Factor::new(native, emulated)) {
        None => lines.push(cpu("run.cpu", "  CPU of our own processes", work.median(), most)),
        Some(factor) => {
            lines.push(cpu(
                "run.cpu.emulated",
                "  CPU of our own processes, emulated",
                work.median(),
                Target::Told,
            ));
            lines.push(factor.line());
            lines.push(cpu(
                "run.cpu",
                "  CPU of our own processes, by that factor",
                factor.without(work.median()),
                most,
            ));
        }
    }
    Ok(lines)
}

/// Where the time of a run goes: the same by its pieces, which are commands of their own.
struct Pieces {
    /// From the command's start until its VMM is told to start.
    prepared: Duration,
    /// From there until the agent serves.
    served: Duration,
    usable: Duration,
    ran: Duration,
    deleted: Duration,
}

impl Pieces {
    fn of_one(sandbox: &Sandbox) -> Result<Self> {
        let created = sandbox.banger(["vm", "create", "--name", "pieces"]).time();
        let shown = sandbox.json(&["vm", "show", "pieces"]);
        let stage = |name: &str| {
            let stages = shown["stages"].as_array().into_iter().flatten();
            let mut named = stages.filter(|stage| stage["name"] == name);
            let took = named.next().and_then(|stage| stage["took_ms"].as_u64());
            took.map(Duration::from_millis).with_context(|| format!("no stage `{name}`"))
        };
        let (served, usable) = (stage("vmm")? + stage("agent")?, stage("usable")?);
        let ran = sandbox.banger(["vm", "exec", "pieces", "--", "true"]).time();
        let deleted = sandbox.banger(["vm", "delete", "pieces"]).time();
        Ok(Self { prepared: created.saturating_sub(served + usable), served, usable, ran, deleted })
    }
}

/// What a boot by hand took, each from its beginning.
struct ByHand {
    served: Duration,
    usable: Duration,
    answered: Duration,
}

fn told(pieces: &[Pieces], by_hand: &[ByHand], reference: &'static str) -> Vec<Line> {
    let ours = |piece: fn(&Pieces) -> Duration| Samples::new(pieces.iter().map(piece)).median();
    let theirs = |piece: fn(&ByHand) -> Duration| Samples::new(by_hand.iter().map(piece)).median();
    let line = |id, what, value| Line::new(id, what, value, Target::Told);
    vec![
        line("run.prepared", "  alone: command, disks, network", ours(|piece| piece.prepared)),
        line("run.served", "  alone: VMM to agent", ours(|piece| piece.served))
            .against(reference, theirs(|other| other.served)),
        line("run.usable", "  alone: agent to usable", ours(|piece| piece.usable))
            .against(reference, theirs(|other| other.usable.saturating_sub(other.served))),
        line("run.ran", "  alone: `vm exec -- true`", ours(|piece| piece.ran))
            .against(reference, theirs(|other| other.answered.saturating_sub(other.usable))),
        line("run.deleted", "  alone: `vm delete`", ours(|piece| piece.deleted)),
    ]
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
            Some(firecracker) => firecracker_of(firecracker.pid, &own, &files)?,
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

    fn boot(&self, sandbox: &Sandbox, turn: usize) -> Result<ByHand> {
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
        let told = finished
            .stdout_text()
            .split_whitespace()
            .map(str::parse)
            .map(|seconds| seconds.map(Duration::from_secs_f64));
        let told: Vec<Duration> = told.collect::<Result<_, _>>().context("the boot told no times")?;
        let &[served, usable, answered] = told.as_slice() else { bail!("the boot did not tell three times") };
        Ok(ByHand { served, usable, answered })
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
fn firecracker_of(pid: u32, folder: &Path, files: &Files) -> Result<Vmm> {
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
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).context("Firecracker's program")?;
    Ok(Vmm::Firecracker {
        program: program.to_str().context("the path of Firecracker")?.to_owned(),
        machine: machine_with_files(in_order_of_disks(told)?, files)?,
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

/// Where a file is that banger's Firecracker has under this name in a root of its own; its VM's own lie in the folder that
/// it runs in by hand. Pure.
fn outside_of_its_root(name: &str, files: &Files) -> Option<String> {
    let own = name.strip_prefix(FirecrackerFiles::FOLDER).and_then(|rest| rest.strip_prefix('/'));
    let shared = [(FirecrackerFiles::KERNEL, &files.kernel), (FirecrackerFiles::INITRD, &files.initrd)];
    let disks = (FirecrackerFiles::FIRST_DISK..).zip(files.disks.iter().map(|(_, path)| path));
    let mut all = shared.into_iter().chain(disks);
    let found = all.find(|(number, _)| FirecrackerFiles::descriptor(*number) == name);
    own.map(str::to_owned).or_else(|| found.map(|(_, path)| path.display().to_string()))
}

/// Firecracker's machine with the paths that its files have outside, and the tap that is there. Pure.
fn machine_with_files(told: Value, files: &Files) -> Result<Value> {
    Ok(match told {
        Value::Object(fields) => fields
            .into_iter()
            // Firecracker reads back nothing that is not set.
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| match key.as_str() {
                "host_dev_name" => Ok((key, TAP.into())),
                _ => Ok((key, machine_with_files(value, files)?)),
            })
            .collect::<Result<_>>()?,
        Value::Array(values) => {
            values.into_iter().map(|value| machine_with_files(value, files)).collect::<Result<_>>()?
        }
        Value::String(text) => outside_of_its_root(&text, files).unwrap_or(text).into(),
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
    let mut worked = ticks(&own, 13..15).context("our own account")?;
    for program in ["bangerd", "bangerd-root"] {
        for process in sandbox.running(program) {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid))?;
            worked += ticks(&stat, 11..13).context("a process's account")?;
        }
    }
    Ok(worked)
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
        let shared = FirecrackerFiles::descriptor;
        let told = serde_json::json!({
            "balloon": null,
            "boot-source": {
                "kernel_image_path": shared(FirecrackerFiles::KERNEL),
                "boot_args": "quiet banger.disks=base,cow",
            },
            "drives": [
                { "drive_id": "cow", "path_on_host": FirecrackerFiles::in_folder("cow.img"), "is_read_only": false },
                { "drive_id": "base", "path_on_host": shared(FirecrackerFiles::FIRST_DISK), "is_read_only": true },
            ],
            "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": "bt0123456789ab" }],
        });
        let files = Files {
            kernel: "/k".into(),
            initrd: "/i".into(),
            disks: [("base", "/b".into()), ("modules", "/m".into())],
        };
        assert_eq!(
            machine_with_files(in_order_of_disks(told).expect("it has disks"), &files)
                .expect("it is understood"),
            serde_json::json!({
                "boot-source": { "kernel_image_path": "/k", "boot_args": "quiet banger.disks=base,cow" },
                "drives": [
                    { "drive_id": "base", "path_on_host": "/b", "is_read_only": true },
                    { "drive_id": "cow", "path_on_host": "cow.img", "is_read_only": false },
                ],
                "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": TAP }],
            })
        );
    }
}
