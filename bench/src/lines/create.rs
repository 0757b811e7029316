//! Our share of a create: everything but the VMM and the guest's boot.
//!
//! The VMM and its vsock backend are fakes that tell the host they are up as soon as they run, so what is left is
//! ours: the command's own start, the daemon's work, the helper's, and starting the two processes, whose own start-up
//! is counted with it. The daemon is warm; the command is `banger vm create`, waited for to its end.

use super::in_memory;
use crate::figure::{Line, Target, Value};
use crate::samples::{in_turns, time};
use anyhow::{Result, anyhow};
use banger_e2e::{Rpc, Sandbox};
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

const TURNS: usize = 100;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = in_memory::sandbox();
    let on_disk = Sandbox::with_fake_guests();
    let (rpc, disks_rpc) = (RefCell::new(sandbox.rpc()), RefCell::new(on_disk.rpc()));
    let [command, disks, daemon, reference] = in_turns(
        TURNS,
        [
            &mut || by_command(&sandbox, &rpc),
            &mut || by_command(&on_disk, &disks_rpc),
            &mut || {
                let begun = Instant::now();
                let created = rpc.borrow_mut().operate("vm.create", &json!({ "name": "x" }));
                let took = begun.elapsed();
                created.map_err(|error| anyhow!("the VM was not made: {error}"))?;
                delete(&rpc)?;
                Ok(took)
            },
            &mut || time(|| Ok(sandbox.tool("true", [""; 0]).time())),
        ],
    )?;
    let ms = |most| Target::AtMost(Value::Milliseconds(most));
    let other = reference.median();
    Ok(vec![
        Line::new("create.p50", "our share of a create, p50", command.median(), ms(15.0))
            .against("spawning `true`", other),
        Line::new("create.p99", "our share of a create, p99", command.percentile(99), ms(40.0))
            .against("spawning `true`", other),
        Line::new("create.daemon.p50", "  of that, the daemon's, p50", daemon.median(), ms(15.0))
            .against("spawning `true`", other),
        Line::new("create.disk", "  with files on the disk, p50", disks.median(), Target::Told)
            .against("spawning `true`", other),
    ])
}

fn by_command(sandbox: &Sandbox, rpc: &RefCell<Rpc>) -> Result<Duration> {
    let took = sandbox.banger(["vm", "create", "--name", "x"]).time();
    delete(rpc)?;
    Ok(took)
}

fn delete(rpc: &RefCell<Rpc>) -> Result<()> {
    let gone = rpc.borrow_mut().operate("vm.delete", &json!({ "vm": "x" }));
    gone.map(drop).map_err(|error| anyhow!("the VM was not deleted: {error}"))
}
