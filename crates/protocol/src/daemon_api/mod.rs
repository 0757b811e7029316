//! What `banger` asks of `bangerd`.
//!
//! Every request is one case of [`DaemonCall`]. A request that takes long answers at once with an operation
//! id; `operation.watch` then tells how it goes ([`operation`]). The views in the answers are what `--json`
//! prints, so their fields are interface.

pub mod image;
pub mod kernel;
pub mod operation;
pub mod personal;
pub mod system;
pub mod vm;
pub mod workspace;

use crate::wire::requests;
use operation::OperationStarted;

requests! {
    /// A request to the daemon.
    DaemonCall {
        /// First on every connection.
        "version" => Version(system::Version) -> system::VersionReply,
        /// Is anybody there?
        "ping" => Ping(system::Ping) -> system::Pong,
        /// How the daemon is.
        "daemon.status" => Status(system::Status) -> system::DaemonStatus,
        /// Ends the daemon; running VMs stay.
        "shutdown" => Shutdown(system::Shutdown) -> system::ShuttingDown,
        /// Looks for what would keep banger from working.
        "doctor.run" => Doctor(system::Doctor) -> system::DoctorReport,

        /// Keeps what of the user's own every guest is given at each of its starts.
        "personal.set" => PersonalSet(personal::Set) -> personal::Kept,

        /// Follows an operation: its events so far and to come, then how it ended.
        "operation.watch" => OperationWatch(operation::Watch) -> operation::OperationView,
        /// One operation as it is now.
        "operation.status" => OperationStatus(operation::Status) -> operation::OperationView,
        /// Ends an operation early; what it held is released before it counts as cancelled.
        "operation.cancel" => OperationCancel(operation::Cancel) -> operation::OperationView,
        /// Operations under way or not pruned yet.
        "operation.list" => OperationList(operation::List) -> Vec<operation::OperationView>,

        /// Refuses what `vm.create` would refuse, as far as can be told without image and kernel.
        "vm.check" => VmCheck(vm::Check) -> vm::Checked,
        /// Makes a VM and starts it.
        "vm.create" => VmCreate(vm::Create) -> vm::Created => vm::VmView,
        /// Starts a stopped VM.
        "vm.start" => VmStart(vm::Start) -> OperationStarted => vm::VmView,
        /// Stops a running VM after flushing its disks.
        "vm.stop" => VmStop(vm::Stop) -> OperationStarted => vm::VmView,
        /// Stops a running VM and starts it again, which is another boot.
        "vm.restart" => VmRestart(vm::Restart) -> OperationStarted => vm::VmView,
        /// Ends a VM now, whatever it has not written yet.
        "vm.kill" => VmKill(vm::Kill) -> OperationStarted => vm::VmView,
        /// Makes a running VM stand still.
        "vm.pause" => VmPause(vm::Pause) -> OperationStarted => vm::VmView,
        /// Lets a paused VM go on.
        "vm.resume" => VmResume(vm::Resume) -> OperationStarted => vm::VmView,
        /// Removes a VM and everything it owns, stopping it first.
        "vm.delete" => VmDelete(vm::Delete) -> OperationStarted => vm::Deleted,
        /// Changes what a VM that is not running is made of.
        "vm.set" => VmSet(vm::Set) -> vm::VmView,
        /// Every VM.
        "vm.list" => VmList(vm::List) -> Vec<vm::VmView>,
        /// One VM.
        "vm.show" => VmShow(vm::Show) -> vm::VmView,
        /// What a VM takes of the host.
        "vm.stats" => VmStats(vm::Stats) -> vm::VmStats,
        /// How a running guest is.
        "vm.health" => VmHealth(vm::Health) -> vm::VmHealth,
        /// Where something listens in a guest.
        "vm.ports" => VmPorts(vm::Ports) -> Vec<vm::PortView>,
        /// A piece of what a guest wrote to its console.
        "vm.logs" => VmLogs(vm::Logs) -> vm::LogChunk,
        /// Opens a connection to the guest's agent; the answer carries its descriptor.
        "vm.connect" => VmConnect(vm::Connect) -> vm::Connected,
        /// What an ssh client needs to know to trust a VM.
        "vm.ssh" => VmSsh(vm::Ssh) -> vm::SshAccess,

        /// Takes the turn to change what of the user's files is in a running VM; it is this connection's.
        "vm.workspace.prepare" => VmWorkspacePrepare(workspace::Prepare) -> workspace::Turn,
        /// Remembers what lies in a VM, and ends the turn that this connection must have.
        "vm.workspace.record" => VmWorkspaceRecord(workspace::Record) -> workspace::Workspace,
        /// What of the user's files is in a VM.
        "vm.workspace.status" => VmWorkspaceStatus(workspace::Status) -> workspace::WorkspaceStatus,

        /// Every image.
        "image.list" => ImageList(image::List) -> Vec<image::ImageView>,
        /// One image.
        "image.show" => ImageShow(image::Show) -> image::ImageView,
        /// Makes an image of its layers; the request carries a descriptor for each.
        "image.ingest" => ImageIngest(image::Ingest) -> OperationStarted => image::ImageView,
        /// Makes an image of a bundle; the request carries its descriptor.
        "image.unbundle" => ImageUnbundle(image::Unbundle) -> OperationStarted => image::ImageView,
        /// Makes known a root file system that stays where it is.
        "image.register" => ImageRegister(image::Register) -> OperationStarted => image::ImageView,
        /// Copies a registered image's files, which become banger's own.
        "image.promote" => ImagePromote(image::Promote) -> OperationStarted => image::ImageView,
        /// Removes an image that no VM uses.
        "image.delete" => ImageDelete(image::Delete) -> image::Deleted,

        /// Every kernel entry.
        "kernel.list" => KernelList(kernel::List) -> Vec<kernel::KernelView>,
        /// One kernel entry.
        "kernel.show" => KernelShow(kernel::Show) -> kernel::KernelView,
        /// Makes a kernel entry of an archive of its package's files; the request carries its descriptor, and that of an initrd.
        "kernel.ingest" => KernelIngest(kernel::Ingest) -> OperationStarted => kernel::KernelView,
        /// Makes a kernel entry of a bundle; the request carries its descriptor.
        "kernel.unbundle" => KernelUnbundle(kernel::Unbundle) -> OperationStarted => kernel::KernelView,
        /// Removes a kernel entry that neither an image nor a VM needs.
        "kernel.delete" => KernelDelete(kernel::Delete) -> kernel::Deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::DaemonCall;

    /// Adding, removing or renaming a method changes the interface, so the page that describes it changes too.
    #[test]
    fn every_method_has_its_line_in_the_documentation_and_no_other_has_one() {
        let page = include_str!("../../../../docs/api.md");
        let lines = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let (methods, texts): (Vec<&str>, Vec<&str>) = lines.unzip();
        assert_eq!(methods, DaemonCall::METHODS);
        assert!(texts.iter().all(|text| text.len() > "| . |".len()), "a method without a description");
    }
}
