//! A VM's tap, made by the helper over its socket, against the same by running `ip`.
//!
//! Both in the helper's own network namespace and on its own bridge, taking turns.

use super::in_memory;
use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result};
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::ids::VmId;
use banger_protocol::root_api::{NetworkEnsure, TapCreate, TapDelete, Version};
use banger_protocol::wire::Connection;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const TURNS: usize = 50;
/// Nobody else's in that network.
const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = in_memory::sandbox();
    // Its processes keep the helper and the bridge.
    drop(sandbox.banger(["vm", "create", "--name", "x"]).run().expect_success());
    let stream =
        UnixStream::connect(sandbox.socket("bangerd-root.sock")).context("connecting to the helper")?;
    let mut helper = Connection::new(stream);
    let version = helper.call(&Version { protocol: PROTOCOL_VERSION, operation: None })?;
    helper.call(&NetworkEnsure::default())?;

    let pid = version.pid.to_string();
    let own = std::env::current_exe()?.display().to_string();
    let namespaces = ["-t", &pid, "-U", "-n", "--preserve-credentials", "--"];
    let inside = namespaces.into_iter().chain([own.as_str(), "inside", "taps", &version.settings.bridge]);
    let mut exec = sandbox.tool("nsenter", inside).open_stdin().start();
    let mut ours = Vec::new();
    for turn in 0..=TURNS {
        let vm = VmId::random();
        let begun = Instant::now();
        helper.call(&TapCreate { vm: vm.clone(), address: GUEST, nat: false })?;
        if turn > 0 {
            ours.push(begun.elapsed());
        }
        helper.call(&TapDelete { vm })?;
        exec.write(b"\n");
        exec.wait_for(&format!("turn {turn} took "));
    }
    let told = exec.finish().expect_success();
    let times = told.stdout_text().lines().filter_map(|line| line.rsplit_once(" took ")?.1.parse().ok());
    let theirs: Vec<Duration> = times.skip(1).map(Duration::from_micros).collect();
    drop(helper);
    drop(sandbox.banger(["vm", "delete", "x"]).run().expect_success());
    Ok(vec![
        Line::new(
            "tap",
            "tap for one VM",
            Samples::new(ours).median(),
            Target::AtMost(Value::Milliseconds(1.0)),
        )
        .against("`ip tuntap add`, `ip link set`", Samples::new(theirs).median()),
    ])
}
