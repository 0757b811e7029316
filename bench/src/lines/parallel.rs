//! Many creates at once, against as many one after another.
//!
//! Each has a connection of its own and names no VM, so names and addresses are the daemon's to keep apart. What is
//! timed is from the first request to the last VM running; the requests come over the daemon's socket, since a
//! hundred commands are mostly the cost of a hundred processes.

use super::in_memory;
use crate::figure::{Line, Target, Value};
use crate::samples::{Samples, time};
use anyhow::{Context as _, Result, anyhow, ensure};
use banger_e2e::{Rpc, Sandbox};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const AT_ONCE: usize = 100;
const TURNS: usize = 5;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = in_memory::sandbox();
    let mut rpc = sandbox.rpc();
    let (mut all, mut single) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let took = at_once(&sandbox, &mut rpc)?;
        let one = time(|| created(&mut rpc))?;
        delete_all(&mut rpc)?;
        if turn > 0 {
            all.push(took);
            single.push(one);
        }
    }
    let most = Target::AtMost(Value::Milliseconds(600.0));
    let all = Samples::new(all).median();
    Ok(vec![
        Line::new("parallel", "100 creates at once", all, most)
            .against("one create", Samples::new(single).median()),
    ])
}

fn at_once(sandbox: &Sandbox, rpc: &mut Rpc) -> Result<Duration> {
    let socket = sandbox.socket("bangerd.sock");
    let ready = Barrier::new(AT_ONCE + 1);
    let took = std::thread::scope(|scope| {
        let creating: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut rpc = Rpc::greeted(&socket);
                    ready.wait();
                    created(&mut rpc)
                })
            })
            .collect();
        ready.wait();
        let begun = Instant::now();
        for create in creating {
            create.join().map_err(|_| anyhow!("a create broke off"))??;
        }
        Ok::<_, anyhow::Error>(begun.elapsed())
    })?;
    let vms = list(rpc)?;
    for (what, many) in [("name", "names"), ("address", "addresses")] {
        let different: BTreeSet<String> = vms.iter().map(|vm| vm[what].to_string()).collect();
        ensure!(different.len() == AT_ONCE, "{} VMs have {} different {many}", AT_ONCE, different.len());
    }
    ensure!(vms.iter().all(|vm| vm["state"] == "running"), "a VM does not run");
    Ok(took)
}

fn created(rpc: &mut Rpc) -> Result<()> {
    let created = rpc.operate("vm.create", &json!({}));
    created.map(drop).map_err(|error| anyhow!("a VM was not made: {error}"))
}

fn list(rpc: &mut Rpc) -> Result<Vec<Json>> {
    let listed = rpc.call("vm.list", &json!({})).map_err(|error| anyhow!("no list: {error}"))?;
    listed.as_array().cloned().context("the list is no list")
}

fn delete_all(rpc: &mut Rpc) -> Result<()> {
    for vm in list(rpc)? {
        rpc.operate("vm.delete", &json!({ "vm": vm["id"] }))
            .map_err(|error| anyhow!("a VM was not deleted: {error}"))?;
    }
    Ok(())
}
