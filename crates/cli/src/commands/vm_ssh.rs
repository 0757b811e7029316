use super::vm_exec::run_in;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::{self, Command};
use crate::places;
use crate::printer;
use crate::signals::Signals;
use crate::tool::Tool;
use banger_protocol::daemon_api::vm::{Ports, Ssh, SshAccess};
use banger_protocol::names::VmRef;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;

/// Where ssh servers listen.
const SSH: u16 = 22;

/// Connect to a running VM over ssh
///
/// `banger vm ssh dev` opens a shell. Arguments after the VM go to ssh: `banger vm ssh dev -L 8080:localhost:80`,
/// `banger vm ssh dev uname -a`. If the guest has no ssh server, the guest agent opens the shell instead.
///
/// After `banger ssh-config --install`, plain `ssh dev.vm`, `scp`, and `rsync` work as well.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// VM name, ID, or unique ID prefix
    vm: String,
    /// Options and command for ssh
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SSH ARGS")]
    arguments: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let vm = VmRef(self.vm);
        let access = daemon.call(&Ssh { vm: vm.clone() })?;
        // The agent serves as well, but for ssh's own options.
        let is_for_ssh = self.arguments.first().is_some_and(|argument| argument.starts_with('-'));
        let has_sshd = access.has_sshd || (is_for_ssh && listens(&mut daemon, &vm));
        match Tool::find("ssh") {
            Ok(ssh) if has_sshd => {
                drop(daemon);
                let mut command = ssh.command_of_the_user();
                command.args(options(&access)?).arg(format!("{}.vm", access.name)).args(&self.arguments);
                // Returns only when it failed.
                Err(Failure::message(format!("{} cannot be run: {}", ssh.path().display(), command.exec())))
            }
            _ => {
                if has_sshd {
                    printer::remark(
                        "`ssh` is not installed on this host: connecting through the guest agent",
                    );
                }
                through_agent(&mut daemon, &vm, &self.arguments)
            }
        }
    }
}

/// Whether an ssh server runs that the image did not have. A VM that cannot be asked will tell why.
fn listens(daemon: &mut Daemon, vm: &VmRef) -> bool {
    let ports = daemon.call(&Ports { vm: vm.clone() }).unwrap_or_default();
    ports.iter().any(|port| port.port == SSH)
}

/// The agent's terminal in place of ssh: a shell, or the command as ssh would run it.
fn through_agent(daemon: &mut Daemon, vm: &VmRef, arguments: &[String]) -> Outcome {
    if let Some(option) = arguments.first().filter(|argument| argument.starts_with('-')) {
        return Err(Failure::usage(format!("option `{option}` needs ssh, and VM `{vm}` has no ssh server")));
    }
    let is_shell = arguments.is_empty();
    let argv =
        if is_shell { Vec::new() } else { ["sh", "-c", &arguments.join(" ")].map(str::to_owned).to_vec() };
    let terminal = is_shell && guest::stdin_is_terminal();
    let command = Command { argv, env: BTreeMap::new(), user: None, cwd: None, stdin: true, terminal };
    let signals = Signals::take().map_err(|error| Failure::of(&error))?;
    run_in(daemon, vm, command, None, &signals)
}

/// What lets ssh reach and trust the VM; each goes before the user's own configuration.
fn options(access: &SshAccess) -> Result<Vec<String>, Failure> {
    let program = places::own_program()?;
    let program = program.to_string_lossy();
    let settings = [
        format!("ProxyCommand={} internal connect {} %p", shell_word(&program), access.name),
        format!("KnownHostsCommand={} internal known-hosts %H", program_word(&program)),
        format!("HostKeyAlias={}.vm", access.name),
        format!("IdentityFile={}", config_word(&access.identity_file)),
        "IdentitiesOnly=yes".to_owned(),
        "User=root".to_owned(),
        "UserKnownHostsFile=none".to_owned(),
        "GlobalKnownHostsFile=none".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "CheckHostIP=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ];
    Ok(settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect())
}

/// One word for the shell that runs a `ProxyCommand`, after ssh has expanded its `%`.
pub(crate) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('%', "%%").replace('\'', r"'\''"))
}

/// One word as ssh splits a line of its configuration (`argv_split`), its `%` doubled.
pub(super) fn config_word(text: &str) -> String {
    program_word(&text.replace('%', "%%"))
}

/// The program of a `KnownHostsCommand`: the one word of it in which ssh expands no `%` (`load_hostkeys_command`,
/// sshconnect.c).
pub(super) fn program_word(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// The VM behind a name as ssh knows it: `dev.vm`, `[dev.vm]:2222` or `dev`.
pub(super) fn vm_of_host(host: &str) -> VmRef {
    let bare = host.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(host, |(name, _)| name);
    VmRef(bare.strip_suffix(".vm").unwrap_or(bare).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_as_ssh_knows_it_leads_to_its_vm() {
        for host in ["dev", "dev.vm", "[dev.vm]:2222"] {
            assert_eq!(vm_of_host(host), VmRef("dev".to_owned()));
        }
    }

    #[test]
    fn a_program_in_an_odd_folder_stays_one_word() {
        assert_eq!(shell_word("/a b/it's 100%/banger"), r"'/a b/it'\''s 100%%/banger'");
        assert_eq!(config_word("/a \"b\" 100%/banger"), r#""/a \"b\" 100%%/banger""#);
        assert_eq!(program_word("/a \"b\" 100%/banger"), r#""/a \"b\" 100%/banger""#);
    }
}
