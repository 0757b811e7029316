//! What `banger` asks of `bangerd`.
//!
//! Every request is one case of [`DaemonCall`]. A request that takes long answers at once with an operation
//! id; `operation.watch` then tells how it goes ([`operation`]). The views in the answers are what `--json`
//! prints, so their fields are interface.

pub mod image;
pub mod kernel;
pub mod operation;
pub mod system;
pub mod vm;

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
        /// Makes a VM and starts it. The operation's result is a [`vm::VmView`].
        "vm.create" => VmCreate(vm::Create) -> vm::Created,
        /// Starts a stopped VM. Result: [`vm::VmView`].
        "vm.start" => VmStart(vm::Start) -> OperationStarted,
        /// Stops a running VM after flushing its disks. Result: [`vm::VmView`].
        "vm.stop" => VmStop(vm::Stop) -> OperationStarted,
        /// Stops a running VM and starts it again, which is another boot. Result: [`vm::VmView`].
        "vm.restart" => VmRestart(vm::Restart) -> OperationStarted,
        /// Ends a VM now, whatever it has not written yet. Result: [`vm::VmView`].
        "vm.kill" => VmKill(vm::Kill) -> OperationStarted,
        /// Makes a running VM stand still. Result: [`vm::VmView`].
        "vm.pause" => VmPause(vm::Pause) -> OperationStarted,
        /// Lets a paused VM go on. Result: [`vm::VmView`].
        "vm.resume" => VmResume(vm::Resume) -> OperationStarted,
        /// Removes a VM and everything it owns, stopping it first. Result: [`vm::Deleted`].
        "vm.delete" => VmDelete(vm::Delete) -> OperationStarted,
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

        /// Every image.
        "image.list" => ImageList(image::List) -> Vec<image::ImageView>,
        /// One image.
        "image.show" => ImageShow(image::Show) -> image::ImageView,
        /// Makes an image of its layers; the request carries a descriptor for each. Result: [`image::ImageView`].
        "image.ingest" => ImageIngest(image::Ingest) -> OperationStarted,
        /// Makes an image of a bundle; the request carries its descriptor. Result: [`image::ImageView`].
        "image.unbundle" => ImageUnbundle(image::Unbundle) -> OperationStarted,
        /// Makes known a root file system that stays where it is. Result: [`image::ImageView`].
        "image.register" => ImageRegister(image::Register) -> OperationStarted,
        /// Copies a registered image's files, which become banger's own. Result: [`image::ImageView`].
        "image.promote" => ImagePromote(image::Promote) -> OperationStarted,
        /// Removes an image that no VM uses.
        "image.delete" => ImageDelete(image::Delete) -> image::Deleted,

        /// Every kernel entry.
        "kernel.list" => KernelList(kernel::List) -> Vec<kernel::KernelView>,
        /// One kernel entry.
        "kernel.show" => KernelShow(kernel::Show) -> kernel::KernelView,
        /// Makes a kernel entry of an archive of its package's files; the request carries its descriptor, and that of an initrd. Result: [`kernel::KernelView`].
        "kernel.ingest" => KernelIngest(kernel::Ingest) -> OperationStarted,
        /// Makes a kernel entry of a bundle; the request carries its descriptor. Result: [`kernel::KernelView`].
        "kernel.unbundle" => KernelUnbundle(kernel::Unbundle) -> OperationStarted,
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
