//! From the request to stop to the VMM's end, and from there until nothing of the run is left.

use super::in_memory;
use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, anyhow, ensure};
use banger_e2e::Rpc;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;
use std::time::{Duration, Instant};

const TURNS: usize = 20;

pub(super) fn with_fakes() -> Result<Vec<Line>> {
    let sandbox = in_memory::sandbox();
    let mut rpc = sandbox.rpc();
    let (healthy, dead) =
        (Stops::of(&mut rpc, "debian-bookworm", TURNS)?, Stops::of(&mut rpc, "never-syncs", 3)?);
    let reference = Samples::new((0..TURNS).map(|_| sandbox.tool("true", [""; 0]).time())).median();
    let most = |ms| Target::AtMost(Value::Milliseconds(ms));
    Ok(vec![
        Line::new("stop", "stop: request to VMM's end, p50", healthy.killed.median(), most(250.0))
            .against("spawning `true`", reference),
        Line::new("stop.dead", "stop: the same, guest dead", dead.killed.median(), most(2500.0)),
        Line::new("stop.released", "stop: then all gone", healthy.released.median(), most(100.0))
            .against("spawning `true`", reference),
    ])
}

/// Two parts of some stops.
pub(super) struct Stops {
    pub killed: Samples,
    pub released: Samples,
}

impl Stops {
    fn of(rpc: &mut Rpc, image: &str, turns: usize) -> Result<Self> {
        let created = rpc.operate("vm.create", &json!({ "name": "x", "image": image }));
        created.map_err(|error| anyhow!("the VM was not made: {error}"))?;
        let (mut killed, mut released) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            let (until_killed, until_released) = stop(rpc, "x")?;
            killed.push(until_killed);
            released.push(until_released);
            rpc.operate("vm.start", &json!({ "vm": "x" })).map_err(|error| anyhow!("no start: {error}"))?;
        }
        rpc.operate("vm.delete", &json!({ "vm": "x" })).map_err(|error| anyhow!("no delete: {error}"))?;
        Ok(Self { killed: Samples::new(killed), released: Samples::new(released) })
    }
}

/// Stops a running VM; how long its VMM lived on, and how long everything else took then.
pub(super) fn stop(rpc: &mut Rpc, vm: &str) -> Result<(Duration, Duration)> {
    let shown = rpc.call("vm.show", &json!({ "vm": vm })).map_err(|error| anyhow!("no VM: {error}"))?;
    let pid = shown["running"]["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let vmm = pidfd_open(pid.context("the VM has no process")?, PidfdFlags::empty())?;
    let begun = Instant::now();
    let started = rpc.call("vm.stop", &json!({ "vm": vm })).map_err(|error| anyhow!("no stop: {error}"))?;
    while poll(&mut [PollFd::new(&vmm, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
    let killed = begun.elapsed();
    let stopped = rpc.watch(banger_e2e::operation_of(&started)).map_err(|error| anyhow!("{error}"))?;
    ensure!(stopped["state"] == "stopped", "the VM is {}", stopped["state"]);
    Ok((killed, begun.elapsed().saturating_sub(killed)))
}
