use super::vm_create::{Machine, Purpose, remove};
use super::vm_exec::{Environment, find_ssh_agent, run_in};
use super::vm_workspace::Travel;
use crate::daemon::Daemon;
use crate::failure::{Failure, NO_COMMAND, Outcome};
use crate::guest::{self, Command};
use crate::printer;
use crate::signals::Signals;
use crate::workspace::{Interrupt, Options, PrepareError, Source, prepare};
use banger_protocol::daemon_api::image::ImageView;
use banger_protocol::daemon_api::vm::VmView;
use banger_protocol::names::VmRef;
use banger_protocol::root_api::Acceleration;
use banger_protocol::wire::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Create a VM and run a shell or command in it
///
///     banger vm run --rm                 open a shell; delete the VM on exit
///     banger vm run --rm -- make test    run a command; delete the VM afterwards
///     banger vm run --name dev           open a shell; keep the VM
///     banger vm run -d --name dev        create and start the VM, nothing else
///     banger vm run ./repo               copy a git repository in; open a shell in it
///     banger vm run ./repo --rm -- make  copy it in, run a command in it, delete the VM
///     banger vm run --rm --image alpine:3.20 -- apk info
///
/// Standard input, standard output, standard error, and the exit code of the command
/// are passed through. Exit code 125 means that banger failed before the command ran.
///
/// A command runs with the environment, working directory, and user that the image
/// defines; the image's entrypoint is not used. Without a command, `vm run` runs the
/// image's own entrypoint and command, or a login shell if there is none.
///
/// Without `--rm` the VM is kept: then `banger vm ssh NAME`, `banger vm exec NAME --
/// CMD`, or `banger vm delete NAME`. Defaults can be changed in config.toml;
/// `banger doctor` prints the values in effect.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Git repository or directory to copy into the VM; the command runs in it [default: none]
    path: Option<PathBuf>,
    #[command(flatten)]
    travel: Travel,
    /// List the files of PATH that would be copied, and do nothing
    #[arg(short = 'n', long, requires = "path")]
    dry_run: bool,
    /// Overwrite files that the image already has at the destination
    #[arg(long, requires = "path")]
    force: bool,
    /// Do not run `mise install` for a PATH with a .mise.toml or .tool-versions
    #[arg(long, requires = "path")]
    no_bootstrap: bool,
    /// Delete the VM when the command or shell ends, for whatever reason [default: keep it]
    #[arg(long)]
    rm: bool,
    /// Only create and start the VM, and print its name
    #[arg(short, long, conflicts_with_all = ["rm", "command", "interactive", "tty", "env", "ssh_agent"])]
    detach: bool,
    #[command(flatten)]
    machine: Machine,
    /// Accepted for compatibility; standard input is always forwarded
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal; an interactive shell gets one anyway
    #[arg(short, long)]
    tty: bool,
    /// Forward your ssh agent while the command runs; private keys stay on this host
    #[arg(short = 'A', long)]
    ssh_agent: bool,
    #[command(flatten)]
    environment: Environment,
    /// Command and arguments [default: the image's command, or a login shell]
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.path.is_none() && self.travel.is_said() {
            return Err(Failure::usage("these options need a PATH to copy into the VM")
                .with_hint("put it before the options: `banger vm run ./repo --branch fix`"));
        }
        let ssh_agent = find_ssh_agent(self.ssh_agent)?;
        let (force, bootstrap) = (self.force, !self.no_bootstrap);
        let options = Options { force, bootstrap, ..self.travel.into_options() };
        // Before minutes are spent on a VM for a folder that cannot go in.
        let source =
            self.path.map(|path| Source::look(&path, &options).map_err(|error| looked_at(error, &path)));
        let source = source.transpose()?;
        if self.dry_run {
            let list =
                source.map(|source| source.list()).transpose().map_err(PrepareError::before_the_command)?;
            printer::data(&list.unwrap_or_default())?;
            return Ok(0);
        }
        if let Some(names) = source.as_ref().and_then(Source::names_tools)
            && options.bootstrap
            && !self.machine.reaches_the_world()
        {
            return Err(Failure::message(format!(
                "the tools listed in {names} cannot be installed without network access"
            ))
            .with_hint("use `--nat` to give the VM internet access, or `--no-bootstrap` to skip the tools")
            .before_the_command());
        }
        if self.detach {
            return bring_up(self.machine, source.as_ref(), &options);
        }
        let begun = Instant::now();
        let is_shell = self.command.is_empty();
        let mut command = Command {
            terminal: self.tty || (is_shell && guest::stdin_is_terminal()),
            stdin: true,
            argv: self.command,
            env: self.environment.into_map(),
            user: None,
            cwd: None,
        };
        let signals = Signals::take().map_err(|error| Failure::of(&error).before_the_command())?;
        // The connection is the lease: it must live as long as the command.
        let mut daemon = Daemon::connect().map_err(|error| Failure::from(error).before_the_command())?;
        let purpose = if self.rm { Purpose::Lease } else { Purpose::Keep };
        let made = self.machine.make(&mut daemon, &signals, purpose);
        let (vm, image) = made.map_err(Failure::before_the_command)?;
        if is_shell {
            command.argv = own_command(&image);
        }
        remark_ready(&vm, begun);

        let reference = VmRef(vm.id.to_string());
        let interactive = is_shell && command.terminal;
        let brought = bring_along(&mut daemon, &reference, source.as_ref(), &options, &signals);
        let outcome = brought.map_err(|failure| kept(failure, &vm, self.rm)).and_then(|folder| {
            command.cwd = folder;
            run_in(&mut daemon, &reference, command, ssh_agent, &signals)
        });
        if self.rm {
            remove_leased(&reference);
        } else if interactive {
            let name = &vm.name;
            printer::remark(format_args!(
                "{name} keeps running: `banger vm ssh {name}` connects to it, `banger vm delete {name}` deletes it"
            ));
        }
        outcome
    }
}

/// What is no folder may have been meant as something else.
fn looked_at(error: PrepareError, path: &Path) -> Failure {
    let failure = error.before_the_command();
    if path.is_dir() {
        return failure;
    }
    let text = path.display().to_string();
    let hint = if text.contains("://") || text.starts_with("git@") {
        format!("clone it on this host first: `git clone {text}`, then `banger vm run ./DIR`")
    } else if path.is_file() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        format!(
            "to copy its directory: `banger vm run {}`; to copy a single file into a running VM: `banger vm cp`",
            folder.display()
        )
    } else {
        "PATH is a directory on this host; a command goes after `--`: `banger vm run --rm -- CMD`".to_owned()
    };
    failure.with_hint(hint)
}

/// Brings the folder into the VM; the answer is where in the guest the user pointed.
fn bring_along(
    daemon: &mut Daemon,
    vm: &VmRef,
    source: Option<&Source>,
    options: &Options,
    signals: &Signals,
) -> Result<Option<String>, Failure> {
    let Some(source) = source else { return Ok(None) };
    let interrupt = Interrupt::default();
    let _caught = interrupt.catch(signals);
    let prepared =
        prepare(daemon, vm, source, options, &interrupt).map_err(PrepareError::before_the_command)?;
    prepared.warnings.iter().for_each(printer::warning);
    Ok(Some(prepared.folder))
}

/// The VM is up without the folder: it is the user's to keep, unless it was not to be kept.
fn kept(failure: Failure, vm: &VmView, is_leased: bool) -> Failure {
    let name = &vm.name;
    if is_leased {
        return failure;
    }
    failure.with_hint(format!("VM `{name}` keeps running: `banger vm delete {name}` deletes it"))
}

/// What an image runs by itself. The init of one that boots is none: it runs already.
fn own_command(image: &ImageView) -> Vec<String> {
    let command = image.config.command();
    let program = command.first().and_then(|program| program.rsplit('/').next());
    if image.has_init && matches!(program, Some("init" | "systemd")) { Vec::new() } else { command }
}

fn bring_up(machine: Machine, source: Option<&Source>, options: &Options) -> Outcome {
    let begun = Instant::now();
    let signals = Signals::take().map_err(|error| Failure::of(&error))?;
    let mut daemon = Daemon::connect()?;
    let (vm, _) = machine.make(&mut daemon, &signals, Purpose::Keep)?;
    remark_ready(&vm, begun);
    let reference = VmRef(vm.id.to_string());
    bring_along(&mut daemon, &reference, source, options, &signals)
        .map_err(|failure| kept(failure, &vm, false))?;
    printer::line(&vm.name)?;
    Ok(0)
}

fn remark_ready(vm: &VmView, begun: Instant) {
    printer::remark(format_args!("{} ready in {:.1} s", vm.name, begun.elapsed().as_secs_f32()));
    if vm.running.as_ref().is_some_and(|running| running.acceleration == Acceleration::Tcg) {
        printer::remark("the VM is emulated in software, which is slow: `banger doctor` shows why");
    }
}

/// The daemon would do it by itself when our connection ends, unless it was restarted meanwhile and forgot whose
/// the VM is. Asking makes it sure, and done when this returns.
fn remove_leased(vm: &VmRef) {
    match remove(vm) {
        Ok(()) => {}
        Err(failure) if failure.kind == Some(ErrorKind::NotFound) => {}
        Err(failure) => {
            printer::warning("the VM was not deleted");
            printer::failure(&Failure { code: NO_COMMAND, ..failure });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_runs_its_own_command_unless_that_is_the_init_it_boots_with() {
        let own = |has_init: bool, cmd: &[&str]| {
            own_command(&serde_json::from_value(json!({
                "name": "x", "source": "", "kernel": "k", "digest": "", "size": 1, "disk_usage": 1, "entries": 1,
                "has_init": has_init, "has_sshd": false, "has_agent": true, "managed": true, "created": "", "rootfs_path": "", "work_seed_path": "",
                "config": {"cmd": cmd},
            })).unwrap())
        };
        assert_eq!(own(false, &["/bin/sh", "-l"]), ["/bin/sh", "-l"]);
        assert_eq!(own(true, &["nginx"]), ["nginx"]);
        assert_eq!(own(true, &["/sbin/init"]), [""; 0]);
        assert_eq!(own(true, &["/lib/systemd/systemd"]), [""; 0]);
        assert_eq!(own(false, &[]), [""; 0]);
    }
}
