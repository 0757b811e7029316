//! A whole Debian to test on, in QEMU: systemd, device mapper, resolver, and a KVM that works.
//!
//! ```text
//!                 build                up                    down
//!   packages ─────────────▶ image ─────────────▶ host ─────────────────▶ nothing
//!               once, kept          from a throw-away overlay
//! ```
//!
//! There are two kinds of host. One is the developer's: `up` boots it, every command here finds it, `down` ends
//! it. The others belong to one run of the tests and end with it, however that ends. A host is found and ended
//! through its own monitor, and no other process of this machine is ever touched.

mod command_line;
mod firecracker;
mod given;
mod image;
mod login;
mod machine;
mod monitor;
mod parcel;
mod space;

pub(crate) use given::Given;
pub(crate) use login::User;
pub(crate) use parcel::{BACKEND, LOST, PACKAGE, Parcel, in_given};

use crate::place::Place;
use crate::setup;
use crate::tool::Tool;
use anyhow::{Context as _, Result};
use command_line::{Command, USAGE};
use given::AT as GIVEN_AT;
use image::Image;
use login::Login;
use machine::{Size, Until};
use monitor::Monitor;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, ExitStatus};

/// A host's folder holds the key of its image in this file, from when it is up.
const IMAGE_KEY: &str = "image";

pub(crate) fn run(place: &Place, arguments: &[&str]) -> Result<ExitCode> {
    let hosts = hosts()?;
    let developers = developers_folder(&hosts);
    match Command::parse(arguments)? {
        Command::Explain => println!("{USAGE}"),
        Command::Build => {
            setup::to_run(place)?;
            let _lock = lock(&hosts)?;
            println!("host: the disk is {}", image::ensure(place, &hosts)?.disk().display());
        }
        Command::Up(size) => up(place, &hosts, size)?,
        Command::Run { user, words } => {
            let host = Host::running(&hosts, developers)?;
            return Ok(exit_code(host.command(place, user, &words)?.interactive().status()?));
        }
        Command::Shell { user } => {
            let host = Host::running(&hosts, developers)?;
            return Ok(exit_code(host.login.ssh(place, user)?.args(["-t"]).interactive().status()?));
        }
        Command::Copy { user, paths } => {
            let host = Host::running(&hosts, developers)?;
            host.login.rsync(place, user, &paths)?.run()?;
        }
        Command::Status => return status(&hosts),
        Command::Down => down(&hosts)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A host that is up.
#[derive(Debug)]
pub(crate) struct Host {
    folder: PathBuf,
    login: Login,
    /// Set when it ends with this program.
    own: Option<Child>,
}

impl Host {
    /// The developer's, if it is up, or one of our own that ends when this is dropped.
    pub(crate) fn developers_or_own(place: &Place) -> Result<Self> {
        let mut hosts = Self::developers_or_own_up_to(place, 1)?;
        hosts.pop().context("one is always booted")
    }

    /// The developer's alone, if it is up, or as many of our own as this machine has room for: one, and no more than `most`.
    pub(crate) fn developers_or_own_up_to(place: &Place, most: usize) -> Result<Vec<Self>> {
        let hosts = hosts()?;
        if let Some(host) = Self::find(&hosts, developers_folder(&hosts))? {
            println!("host: using the one that is up");
            firecracker::install(place, &host)?;
            return Ok(vec![host]);
        }
        let image = {
            let _lock = lock(&hosts)?;
            remove_what_killed_runs_left(&hosts)?;
            image::ensure(place, &hosts)?
        };
        let number = space::hosts_that_fit(Size::default())?.clamp(1, most);
        (1..=number)
            .map(|index| {
                let folder = hosts.join(format!("{}-{index}", of_this_run(OWN_HOST)));
                Self::boot(place, folder, image.clone(), Size::default(), Until::ThisProgramEnds)
            })
            .collect()
    }

    /// The host of a folder, which has to be up.
    fn running(hosts: &Path, folder: PathBuf) -> Result<Self> {
        Self::find(hosts, folder)?.context("no host is up (`cargo xtask host up` boots one)")
    }

    fn find(hosts: &Path, folder: PathBuf) -> Result<Option<Self>> {
        let Some(mut monitor) = Monitor::connect(&folder)? else { return Ok(None) };
        let Ok(key) = fs::read_to_string(folder.join(IMAGE_KEY)) else { return Ok(None) };
        let login = Login { image: Image::named(hosts, &key), port: machine::ssh_port(&mut monitor)? };
        Ok(Some(Self { folder, login, own: None }))
    }

    fn boot(place: &Place, folder: PathBuf, image: Image, size: Size, until: Until) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&folder)
            .with_context(|| format!("making {}", folder.display()))?;
        let child = machine::boot(place, &folder, &image, size, until).inspect_err(|_| {
            if until == Until::ThisProgramEnds {
                // The error tells what was in it; what cannot be removed now is removed by the next run.
                drop(fs::remove_dir_all(&folder));
            }
        })?;
        // From here on dropping it ends it.
        let mut host = Self { folder, login: Login { image, port: 0 }, own: Some(child) };
        host.login.port = machine::ssh_port(&mut host.monitor()?)?;
        firecracker::install(place, &host)?;
        let key = host.login.image.key();
        fs::write(host.folder.join(IMAGE_KEY), key).context("writing down which image the host has")?;
        if until == Until::Told {
            host.own = None;
        }
        Ok(host)
    }

    /// A command in it, ready to be started.
    pub(crate) fn command<W: AsRef<str>>(&self, place: &Place, user: User, words: &[W]) -> Result<Tool> {
        self.login.command(place, user, words)
    }

    /// Ends it, if it is our own, and tells what is known of its last moments.
    pub(crate) fn last_words(&mut self) -> Result<String> {
        let how = match &mut self.own {
            Some(child) => format!("it ended with {}\n", machine::end(child)?),
            None => String::new(),
        };
        Ok(how + &machine::last_words(&self.folder))
    }

    fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.folder)?.context("the host has ended")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(child) = &mut self.own else { return };
        let ended = machine::end(child)
            .and_then(|_| fs::remove_dir_all(&self.folder).context("removing the host's folder"));
        if let Err(error) = ended {
            eprintln!("host: it is not cleaned up: {error:#}");
        }
    }
}

fn up(place: &Place, hosts: &Path, size: Size) -> Result<()> {
    setup::to_run(place)?;
    // Two at once come to one host.
    let _lock = lock(hosts)?;
    let folder = developers_folder(hosts);
    if Host::find(hosts, folder.clone())?.is_some() {
        println!("host: it is up already");
        return Ok(());
    }
    if let Some(monitor) = Monitor::connect(&folder)? {
        println!("host: ending one that somebody began to boot");
        monitor.quit()?;
    }
    let image = image::ensure(place, hosts)?;
    let host = Host::boot(place, folder, image, size, Until::Told)?;
    println!(
        "host: `cargo xtask host shell` enters it, `cargo xtask host down` ends it; {}",
        host.describe()
    );
    Ok(())
}

impl Host {
    fn describe(&self) -> String {
        format!(
            "ssh on 127.0.0.1:{}, console in {}",
            self.login.port,
            self.folder.join(machine::CONSOLE).display()
        )
    }
}

/// Prints whether the host is up, and exits with 1 when it is not.
fn status(hosts: &Path) -> Result<ExitCode> {
    let current = Image::current(hosts);
    match Host::find(hosts, developers_folder(hosts))? {
        Some(host) => {
            println!("host: up; {}", host.describe());
            if host.login.image != current {
                println!(
                    "host: it was booted from the image {}, and this checkout's is {}",
                    host.login.image.key(),
                    current.key()
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let made = if current.is_made() { "made" } else { "not made yet" };
            println!("host: not up; its disk is {made}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn down(hosts: &Path) -> Result<()> {
    let folder = developers_folder(hosts);
    match Monitor::connect(&folder)? {
        Some(monitor) => {
            monitor.quit()?;
            println!("host: ended, and everything written in it is gone");
        }
        None => println!("host: it was not up"),
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Where hosts are kept: beside the images of the guest ring.
fn hosts() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("BANGER_E2E_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("banger-e2e")))
        .or_else(|| Some(variable("HOME")?.join(".cache/banger-e2e")))
        .context("neither HOME nor XDG_CACHE_HOME is set")?;
    let hosts = cache.join("hosts");
    fs::create_dir_all(&hosts).with_context(|| format!("making {}", hosts.display()))?;
    Ok(hosts)
}

/// Where a run gathers what it will give to a host: on the file system of the caches, for files to be linked.
fn folder_to_give() -> Result<PathBuf> {
    let folder = hosts()?.join(of_this_run(TO_GIVE));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(folder)
}

/// Folders of one run carry its pid.
const OWN_HOST: &str = "run-";
const TO_GIVE: &str = "to-give-";

fn of_this_run(prefix: &str) -> String {
    format!("{prefix}{}", std::process::id())
}

fn developers_folder(hosts: &Path) -> PathBuf {
    hosts.join("up")
}

/// Held while an image is made or the developer's host boots.
fn lock(hosts: &Path) -> Result<File> {
    let lock = File::create(hosts.join("lock")).context("making the lock of the test hosts")?;
    lock.lock().context("waiting for another `cargo xtask host`")?;
    Ok(lock)
}

/// A run of the tests that was killed could not remove its folders.
fn remove_what_killed_runs_left(hosts: &Path) -> Result<()> {
    for entry in fs::read_dir(hosts).with_context(|| format!("listing {}", hosts.display()))? {
        let entry = entry.with_context(|| format!("listing {}", hosts.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = [OWN_HOST, TO_GIVE].iter().find_map(|prefix| name.strip_prefix(prefix));
        let pid = rest.and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The command's own, or what a shell says of one that was killed.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
