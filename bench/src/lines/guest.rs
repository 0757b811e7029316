//! One real guest: how soon it answers, what a command in it costs, what its agent holds, how it is stopped.

use super::memory::of_status;
use super::stop::stop;
use crate::figure::{Line, Target, Value};
use crate::samples::{Samples, in_turns, milliseconds};
use anyhow::{Context as _, Result, anyhow};
use banger_e2e::Sandbox;
use serde_json::json;
use std::time::{Duration, Instant};

const TURNS: usize = 15;
const STOPS: usize = 2;

/// Watched from inside, so that neither the network nor a client's start-up is counted against the ssh server.
const UNTIL_SSHD_ANSWERS: &str = "until { read -r -t 5 banner </dev/tcp/127.0.0.1/22; } 2>/dev/null \
                                  && [ \"${banner#SSH-}\" != \"$banner\" ]; do sleep 0.02; done";
/// The agent is the one process that runs from the folder in which banger puts it.
const STATUS_OF_THE_AGENT: &str = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /run/banger/agent*) cat $p/status; exit;; esac; done";

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_image();
    let banger = |words: &[&str]| drop(sandbox.banger(words).run().expect_success());
    banger(&["vm", "create", "--no-start", "--name", "dev"]);
    let mut lines = Vec::new();

    let begun = Instant::now();
    banger(&["vm", "start", "--early", "dev"]);
    banger(&["vm", "exec", "dev", "--", "true"]);
    let agent = begun.elapsed();
    banger(&["vm", "exec", "dev", "--", "bash", "-c", UNTIL_SSHD_ANSWERS]);
    let sshd = begun.elapsed();
    let ms = |time: Duration| Value::Milliseconds(milliseconds(time));
    lines.push(
        Line::new("ready", "first exec after a start", ms(agent), Target::AtMostTimes(0.25))
            .against("sshd in the same boot", ms(sshd)),
    );

    let config = sandbox.home().join("ssh_config");
    std::fs::write(&config, sandbox.banger(["ssh-config"]).run().expect_success().stdout)?;
    let config = config.display().to_string();
    let ssh = ["-F", config.as_str(), "-o", "StrictHostKeyChecking=yes", "dev.vm", "true"];
    let [exec, ssh] = in_turns(
        TURNS,
        [&mut || Ok(sandbox.banger(["vm", "exec", "dev", "--", "true"]).time()), &mut || {
            Ok(sandbox.tool("ssh", ssh).time())
        }],
    )?;
    lines.push(
        Line::new("exec", "`vm exec VM -- true`", exec.median(), Target::AtMostTimes(0.1))
            .against("`ssh VM true`", ssh.median()),
    );

    let status = sandbox.exec("dev", &["sh", "-c", STATUS_OF_THE_AGENT]).expect_success();
    let memory = of_status(status.stdout_text()).context("the agent's memory is not told")?;
    lines.push(Line::new(
        "memory.agent",
        "memory of the agent",
        memory,
        Target::AtMost(Value::Mebibytes(4.0)),
    ));

    let mut rpc = sandbox.rpc();
    let (mut killed, mut released) = (Vec::new(), Vec::new());
    for turn in 0..STOPS {
        let (until_killed, until_released) = stop(&mut rpc, "dev")?;
        killed.push(until_killed);
        released.push(until_released);
        if turn + 1 < STOPS {
            rpc.operate("vm.start", &json!({ "vm": "dev" })).map_err(|error| anyhow!("no start: {error}"))?;
        }
    }
    drop(rpc);
    banger(&["vm", "delete", "dev"]);
    let most = |ms| Target::AtMost(Value::Milliseconds(ms));
    lines.extend([
        Line::new(
            "stop.guest",
            "stop of a real guest: VMM's end",
            Samples::new(killed).median(),
            most(250.0),
        ),
        Line::new("stop.guest.released", "  then all gone", Samples::new(released).median(), most(100.0)),
    ]);
    Ok(lines)
}
