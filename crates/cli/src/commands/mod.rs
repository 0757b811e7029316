//! The commands; one file is one command, named as it is typed.
//!
//! A command turns its arguments into requests and the answers into lines. What exists and what is allowed is
//! the daemon's to say.

mod completion;
mod daemon_status;
mod daemon_stop;
mod doctor;
mod image_cache_prune;
mod image_delete;
mod image_list;
mod image_promote;
mod image_pull;
mod image_register;
mod image_show;
mod internal_build;
mod internal_connect;
mod internal_known_hosts;
mod internal_man;
mod kernel_import;
mod kernel_list;
mod kernel_pull;
mod kernel_rm;
mod kernel_show;
mod select;
mod ssh_config;
mod system_install;
mod system_restart;
mod system_status;
mod system_uninstall;
mod tip;
mod version;
mod vm_cp;
mod vm_create;
mod vm_delete;
mod vm_exec;
mod vm_health;
mod vm_kill;
mod vm_list;
mod vm_logs;
mod vm_pause;
mod vm_ports;
mod vm_prune;
mod vm_restart;
mod vm_resume;
mod vm_run;
mod vm_session;
mod vm_set;
mod vm_show;
mod vm_ssh;
mod vm_start;
mod vm_stats;
mod vm_stop;
mod vm_workspace;

use crate::failure::{Failure, Outcome};
use clap::{Parser, Subcommand};

/// Run disposable Linux virtual machines, one per task
///
/// Common commands:
///
///     banger vm run --rm               open a shell in a new Debian VM; delete it on exit
///     banger vm run --rm -- make test  run one command in a new VM; delete it afterwards
///     banger vm run ./repo             open a shell in a copy of a git repository
///     banger vm list                   list VMs
///     banger doctor                    check this host and show how to fix problems
///
/// The first run builds the default image; later runs start in seconds. No root and
/// no installation are needed. `banger vm --help` lists everything VMs can do, and
/// every command has its own `--help` with examples.
#[derive(Debug, Parser)]
#[command(name = "banger", version, propagate_version = false, verbatim_doc_comment)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Vm(Vm),
    /// List VMs (short for `banger vm list`)
    ///
    /// `banger ps` lists all of them; `banger vm show NAME` prints the details of one.
    Ps(vm_list::Args),
    #[command(subcommand)]
    Image(Image),
    #[command(subcommand)]
    Kernel(Kernel),
    #[command(subcommand)]
    System(System),
    #[command(subcommand)]
    Daemon(Daemon),
    Doctor(doctor::Args),
    SshConfig(ssh_config::Args),
    Completion(completion::Args),
    Version(version::Args),
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

/// Create, use, and delete VMs
///
/// Common commands:
///
///     banger vm run --rm -- CMD     run CMD in a new VM; delete the VM afterwards
///     banger vm run --name dev      create a VM that stays, and open a shell in it
///     banger vm run ./repo          create a VM with a copy of that git repository
///     banger vm exec dev -- CMD     run CMD in an existing VM
///     banger vm session --help      run commands in the background
///     banger vm delete dev          delete a VM and everything it owns
///
/// `banger vm list` lists the VMs. `banger vm COMMAND --help` explains one command.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum Vm {
    Run(vm_run::Args),
    Create(vm_create::Args),
    Start(vm_start::Args),
    Stop(vm_stop::Args),
    Restart(vm_restart::Args),
    Kill(vm_kill::Args),
    Pause(vm_pause::Args),
    #[command(visible_alias = "unpause")]
    Resume(vm_resume::Args),
    #[command(visible_alias = "rm")]
    Delete(vm_delete::Args),
    Prune(vm_prune::Args),
    Set(vm_set::Args),
    #[command(visible_alias = "ps", visible_alias = "ls")]
    List(vm_list::Args),
    Show(vm_show::Args),
    Stats(vm_stats::Args),
    Health(vm_health::Args),
    Ports(vm_ports::Args),
    Exec(vm_exec::Args),
    #[command(subcommand)]
    Session(vm_session::Session),
    Ssh(vm_ssh::Args),
    Cp(vm_cp::Args),
    #[command(subcommand)]
    Workspace(vm_workspace::Workspace),
    Logs(vm_logs::Args),
}

/// Manage images
///
/// An image is the root file system that VMs start from. `banger vm run` pulls the
/// default image, debian-bookworm, when it is missing. To pull one explicitly:
///
///     banger image pull debian-bookworm    build it from Debian packages
///     banger image pull alpine:3.20        pull it from a container registry
///
/// Then `banger vm run --image NAME`. `banger image list --available` shows what the
/// catalog offers.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum Image {
    #[command(visible_alias = "ls")]
    List(image_list::Args),
    Show(image_show::Args),
    Pull(image_pull::Args),
    Register(image_register::Args),
    Promote(image_promote::Args),
    #[command(visible_alias = "rm")]
    Delete(image_delete::Args),
    #[command(subcommand)]
    Cache(ImageCache),
}

/// Manage the cache of downloaded image layers
///
///     banger image cache prune --dry-run
///
/// shows what would be deleted and how much space that would free.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum ImageCache {
    Prune(image_cache_prune::Args),
}

/// Manage kernels
///
/// Every image names its kernel, and `banger vm run` pulls that kernel when it is
/// missing. To see which kernels the catalog offers:
///
///     banger kernel list --available
///
/// Then `banger kernel pull NAME` and `banger vm run --kernel NAME`.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum Kernel {
    #[command(visible_alias = "ls")]
    List(kernel_list::Args),
    Show(kernel_show::Args),
    Pull(kernel_pull::Args),
    Import(kernel_import::Args),
    #[command(visible_alias = "delete")]
    Rm(kernel_rm::Args),
}

/// Manage the background daemon
///
///     banger daemon status
///
/// The daemon, bangerd, starts with the first command that needs it and exits after
/// five minutes without use. `banger daemon stop` stops it now. Running VMs are not
/// affected; the next command starts the daemon again.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum Daemon {
    Status(daemon_status::Args),
    Stop(daemon_stop::Args),
}

/// Install banger as a system service
///
///     sudo banger system install
///
/// installs two systemd services for one user. VMs then get addresses and names
/// (NAME.vm) that work on this host. Without it, banger runs entirely as your own
/// user. `banger system status` shows the state of the installation.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
enum System {
    Install(system_install::Args),
    Status(system_status::Args),
    Restart(system_restart::Args),
    Uninstall(system_uninstall::Args),
}

/// Commands that other programs call
#[derive(Debug, Subcommand)]
enum Internal {
    Build(internal_build::Args),
    Connect(internal_connect::Args),
    KnownHosts(internal_known_hosts::Args),
    Man(internal_man::Args),
}

impl Cli {
    /// What was typed. A mistake is a failure that says what was probably meant; help that was asked for is printed, and
    /// ends the program.
    pub(crate) fn from_command_line() -> Result<Self, Failure> {
        let words: Vec<_> = std::env::args_os().collect();
        Self::try_parse_from(&words).map_err(|error| {
            let error = tip::add(error, &words);
            tip::tell(&error, &words).unwrap_or_else(|| error.exit())
        })
    }

    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Vm(vm) => match vm {
                Vm::Run(args) => args.run(),
                Vm::Create(args) => args.run(),
                Vm::Start(args) => args.run(),
                Vm::Stop(args) => args.run(),
                Vm::Restart(args) => args.run(),
                Vm::Kill(args) => args.run(),
                Vm::Pause(args) => args.run(),
                Vm::Resume(args) => args.run(),
                Vm::Delete(args) => args.run(),
                Vm::Prune(args) => args.run(),
                Vm::Set(args) => args.run(),
                Vm::List(args) => args.run(),
                Vm::Show(args) => args.run(),
                Vm::Stats(args) => args.run(),
                Vm::Health(args) => args.run(),
                Vm::Ports(args) => args.run(),
                Vm::Exec(args) => args.run(),
                Vm::Session(session) => session.run(),
                Vm::Ssh(args) => args.run(),
                Vm::Cp(args) => args.run(),
                Vm::Workspace(workspace) => workspace.run(),
                Vm::Logs(args) => args.run(),
            },
            Command::Ps(args) => args.run(),
            Command::Image(image) => match image {
                Image::List(args) => args.run(),
                Image::Show(args) => args.run(),
                Image::Pull(args) => args.run(),
                Image::Register(args) => args.run(),
                Image::Promote(args) => args.run(),
                Image::Delete(args) => args.run(),
                Image::Cache(ImageCache::Prune(args)) => args.run(),
            },
            Command::Kernel(kernel) => match kernel {
                Kernel::List(args) => args.run(),
                Kernel::Show(args) => args.run(),
                Kernel::Pull(args) => args.run(),
                Kernel::Import(args) => args.run(),
                Kernel::Rm(args) => args.run(),
            },
            Command::System(system) => match system {
                System::Install(args) => args.run(),
                System::Status(args) => args.run(),
                System::Restart(args) => args.run(),
                System::Uninstall(args) => args.run(),
            },
            Command::Daemon(daemon) => match daemon {
                Daemon::Status(args) => args.run(),
                Daemon::Stop(args) => args.run(),
            },
            Command::Doctor(args) => args.run(),
            Command::SshConfig(args) => args.run(),
            Command::Completion(args) => args.run(),
            Command::Version(args) => args.run(),
            Command::Internal(internal) => match internal {
                Internal::Build(args) => args.run(),
                Internal::Connect(args) => args.run(),
                Internal::KnownHosts(args) => args.run(),
                Internal::Man(args) => args.run(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every command with its whole name, those that only programs call left out.
    fn every_command(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let below = subs.flat_map(|sub| every_command(sub, &format!("{name} {}", sub.get_name())));
        std::iter::once((name.to_owned(), command.clone())).chain(below).collect()
    }

    #[test]
    fn the_command_line_is_well_formed_and_every_command_says_what_it_is_for() {
        Cli::command().debug_assert();
        for (name, command) in every_command(&Cli::command(), "banger") {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty(), "{name} does not say what it is for");
            assert!(!about.contains("  "), "{name}: {about}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name}: {} says nothing", arg.get_id());
            }
        }
    }

    /// Who reads nothing but `--help` finds at each level the line that is wanted most, and where to go from there.
    #[test]
    fn every_help_shows_a_line_to_type_and_the_next_command() {
        let mut wanting = Vec::new();
        for (name, command) in every_command(&Cli::command(), "banger") {
            let text = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let body = text.lines().skip(1).collect::<Vec<_>>().join(" ");
            let own = format!("{name} ");
            let lines: Vec<&str> = body.match_indices("banger ").map(|(at, _)| &body[at..]).collect();
            // Whoever has commands below shows one of those.
            let shows_a_line =
                lines.iter().any(|line| line.starts_with(&own)) || body.contains(&format!("`{name}`"));
            let another =
                lines.iter().any(|line| !line.starts_with(name.as_str())) || command.has_subcommands();
            let leads_on = another || ["ssh", "then ", "Then "].iter().any(|word| body.contains(word));
            if !shows_a_line || !leads_on {
                wanting.push(format!("{name} (a line: {shows_a_line}, what comes next: {leads_on})\n{text}"));
            }
        }
        assert!(wanting.is_empty(), "{}", wanting.join("\n\n"));
    }

    #[test]
    fn a_guests_command_arrives_as_typed() {
        let cli =
            Cli::try_parse_from(["banger", "vm", "run", "--rm", "--", "sh", "-c", "a  b", "--rm"]).unwrap();
        let Command::Vm(Vm::Run(args)) = cli.command else { panic!("another command was parsed") };
        assert_eq!(args.command, ["sh", "-c", "a  b", "--rm"]);
    }
}
