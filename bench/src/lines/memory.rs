//! What the daemon and its helper hold in memory while nothing happens.

use super::rows;
use crate::figure::{Line, Target, Value};
use anyhow::{Context as _, Result, anyhow};
use banger_e2e::Sandbox;
use serde_json::json;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_fake_guests();
    drop(sandbox.banger(["vm", "create", "--name", "x"]).run().expect_success());
    let (owner, helper) = (resident(&sandbox, "bangerd")?, resident(&sandbox, "bangerd-root")?);
    drop(sandbox.banger(["vm", "delete", "x"]).run().expect_success());
    rows::add(&sandbox, 1000)?;
    let mut rpc = sandbox.rpc();
    for _ in 0..10 {
        rpc.call("vm.list", &json!({})).map_err(|error| anyhow!("the VMs were not listed: {error}"))?;
    }
    let with_rows = resident(&sandbox, "bangerd")?;
    drop(rpc);
    rows::remove(&sandbox)?;
    let most = |mib| Target::AtMost(Value::Mebibytes(mib));
    Ok(vec![
        Line::new("memory.owner", "memory of bangerd, idle, one VM", owner, most(20.0)),
        Line::new("memory.owner.1000", "memory of bangerd, 1,000 VMs", with_rows, most(40.0)),
        Line::new("memory.helper", "memory of bangerd-root, one VM", helper, most(8.0)),
    ])
}

/// What a program that runs in a sandbox has.
fn resident(sandbox: &Sandbox, program: &str) -> Result<Value> {
    of_status(&status(sandbox, program)?).context("its status does not tell its memory")
}

/// The most it ever had.
pub(super) fn peak(sandbox: &Sandbox, program: &str) -> Result<Value> {
    field("VmHWM:", &status(sandbox, program)?).context("its status does not tell its memory")
}

fn status(sandbox: &Sandbox, program: &str) -> Result<String> {
    let processes = sandbox.running(program);
    let process = processes.first().with_context(|| format!("no {program} is running"))?;
    std::fs::read_to_string(format!("/proc/{}/status", process.pid))
        .with_context(|| format!("reading the status of {program}"))
}

/// `VmRSS` of a `/proc/<pid>/status` (proc_pid_status(5)).
pub(super) fn of_status(status: &str) -> Option<Value> {
    field("VmRSS:", status)
}

fn field(name: &str, status: &str) -> Option<Value> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Value::Mebibytes(kib / 1024.0))
}
