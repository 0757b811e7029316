//! VMs' root disks on a host's own device mapper.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use banger_protocol::root_api::OwnedLoop;
use harness::installed::{Installed, device_mapper_names, loop_files, settle};
use harness::{run, until};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

fn digest(path: &Path) -> Vec<u8> {
    run("sha256sum", &[path.to_str().unwrap()]).stdout[..64].to_vec()
}

#[test]
fn vms_share_an_image_that_stays_as_it_is_and_keep_what_they_write() {
    let mut installed = Installed::start("share");
    let image = installed.image("rootfs.ext4", 8);
    let before = digest(&image);
    let (first, second) = (installed.vm(&image), installed.vm(&image));
    let mut connection = installed.connect();
    for disk in [&first, &second] {
        assert!(disk.create(&mut connection).unwrap(), "it was made");
        assert!(!disk.create(&mut connection).unwrap(), "twice is once");
    }
    let found = installed.inventory();
    let has = |vm| found.snapshots.contains(vm);
    assert!(has(&first.vm) && has(&second.vm), "{found:?}");
    let on_image = loop_files().iter().filter(|file| Path::new(file) == image).count();
    assert_eq!(on_image, 1, "one loop device for the image: {:?}", loop_files());

    let write = |disk: &harness::installed::Disk, text: &[u8]| {
        let mut device = File::options().write(true).open(disk.device().unwrap()).unwrap();
        device.seek(SeekFrom::Start(4096)).unwrap();
        device.write_all(text).unwrap();
        device.sync_all().unwrap();
    };
    let read = |disk: &harness::installed::Disk| {
        let mut bytes = [0; 5];
        let mut device = File::open(disk.device().unwrap()).unwrap();
        device.seek(SeekFrom::Start(4096)).unwrap();
        device.read_exact(&mut bytes).unwrap();
        bytes
    };
    write(&first, b"first");
    write(&second, b"other");
    assert_eq!((read(&first), read(&second)), (*b"first", *b"other"));
    assert_eq!(digest(&image), before);

    assert!(first.delete(&mut connection).unwrap());
    assert!(!first.delete(&mut connection).unwrap(), "twice is once");
    assert!(first.create(&mut connection).unwrap(), "it comes back");
    assert_eq!(read(&first), *b"first", "with what was written to it");
    for disk in [&first, &second] {
        assert!(disk.delete(&mut connection).unwrap());
    }
    assert_eq!(digest(&image), before);
    let gone = |found: &OwnedLoop| found.vm != Some(first.vm.clone()) && found.vm != Some(second.vm.clone());
    until("nothing is left", || {
        installed.inventory().loops.iter().all(gone)
            && !loop_files().iter().any(|file| Path::new(file) == image)
    });
    assert!(first.device().is_none() && second.device().is_none());
}

#[test]
fn volumes_that_a_guest_makes_on_its_disk_are_not_the_hosts() {
    let mut installed = Installed::start("volumes");
    let image = installed.image("rootfs.ext4", 64);
    let disk = installed.vm(&image);
    let mut connection = installed.connect();
    disk.create(&mut connection).unwrap();
    let device = disk.device().unwrap();
    let device = device.to_str().unwrap();
    let group = format!("guest{}", disk.vm);
    // As a guest would, to whom it is a disk like any other.
    let lvm = |program: &str, arguments: &[&str]| {
        let output = run(program, &[&["--devices", device], arguments].concat());
        assert!(output.status.success(), "{program}: {output:?}");
    };
    lvm("pvcreate", &["-y", "-ff", device]);
    lvm("vgcreate", &[&group, device]);
    lvm("lvcreate", &["-y", "-an", "-Zn", "-Wn", "-n", "volume", "-L", "8M", &group]);
    assert!(disk.delete(&mut connection).unwrap());
    settle();

    // And now udev sees a disk with volumes on it appear.
    assert!(disk.create(&mut connection).unwrap());
    settle();
    let activated = device_mapper_names().into_iter().find(|(name, _)| name.starts_with(&group));
    assert_eq!(activated, None);
    assert!(disk.delete(&mut connection).unwrap(), "nobody holds it");
    assert_eq!(disk.device(), None);
}

#[test]
fn a_helper_killed_at_any_moment_leaves_nothing_that_the_next_one_does_not_complete_or_remove() {
    let mut installed = Installed::start("killed");
    let image = installed.image("rootfs.ext4", 4);
    for (at, microseconds) in
        [0, 300, 1000, 3000, 6000, 10_000, 20_000, 40_000, 80_000].into_iter().enumerate()
    {
        let disk = installed.vm(&image);
        let connection = installed.connect();
        let pid = rustix::process::Pid::from_raw(i32::try_from(installed.pid()).unwrap()).unwrap();
        std::thread::scope(|threads| {
            let mut connection = connection;
            let disk = &disk;
            threads.spawn(move || disk.create(&mut connection));
            std::thread::park_timeout(std::time::Duration::from_micros(microseconds));
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        installed.crash_and_restart();
        let mut connection = installed.connect();
        if at % 2 == 0 {
            disk.create(&mut connection).unwrap();
            assert!(disk.device().is_some(), "{microseconds} µs");
        }
        disk.delete(&mut connection).unwrap();
        assert_eq!(disk.device(), None, "{microseconds} µs");
        until("no loop device is left", || {
            let found = installed.inventory();
            assert!(!found.snapshots.contains(&disk.vm));
            !found.loops.iter().any(|one| one.vm.as_ref() == Some(&disk.vm))
        });
    }
    until("the image's loop device is gone", || !loop_files().iter().any(|file| Path::new(file) == image));
}
