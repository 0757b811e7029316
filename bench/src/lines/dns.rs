//! A guest's question about another's name, asked of the daemon on the bridge, against a packet that is merely sent back.
//!
//! How many questions a core answers is told by the processor time that the daemon takes for a thousand, so that who asks
//! does not count.

use crate::figure::{Line, Target, Value};
use crate::samples::Samples;
use anyhow::{Context as _, Result, ensure};
use banger_e2e::Sandbox;
use banger_protocol::root_api::DNS_PORT;
use rustix::param::clock_ticks_per_second;
use std::time::Duration;

/// Enough for a processor time that is counted in hundredths of a second.
const QUESTIONS: u32 = 60_000;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = Sandbox::with_fake_guests();
    drop(sandbox.banger(["vm", "create", "--name", "x"]).run().expect_success());
    let pid = |program| {
        let running = sandbox.running(program);
        running.first().map(|process| process.pid).with_context(|| format!("no {program} is running"))
    };
    let (daemon, helper) = (pid("bangerd")?, pid("bangerd-root")?.to_string());
    let own = std::env::current_exe()?.display().to_string();
    let (server, count) = (format!("172.16.0.1:{DNS_PORT}"), QUESTIONS.to_string());
    let inside =
        ["-t", &helper, "-U", "-n", "--preserve-credentials", "--", &own, "inside", "dns", &server, &count];
    let mut asking = sandbox.tool("nsenter", inside).open_stdin().start();
    asking.wait_for("ready");
    let before = processor_time(daemon)?;
    asking.write(b"\n");
    asking.wait_for("asked ");
    let taken = processor_time(daemon)? - before;
    let told = asking.finish().expect_success();
    let times = told.stdout_text().lines().filter_map(|line| {
        let (answer, echo) = line.strip_prefix("took ")?.split_once(' ')?;
        Some((Duration::from_nanos(answer.parse().ok()?), Duration::from_nanos(echo.parse().ok()?)))
    });
    let (answers, echoes): (Vec<Duration>, Vec<Duration>) = times.unzip();
    ensure!(!answers.is_empty(), "nothing was timed");
    let (answers, echoes) = (Samples::new(answers), Samples::new(echoes));
    drop(sandbox.banger(["vm", "delete", "x"]).run().expect_success());
    let most = |milliseconds| Target::AtMost(Value::Milliseconds(milliseconds));
    let of_a_thousand = taken.as_secs_f64() * 1000.0 * 1000.0 / f64::from(QUESTIONS);
    Ok(vec![
        Line::new("dns.p99", "an answer to a guest's question, p99", answers.percentile(99), most(0.5))
            .against("a UDP echo, p99", echoes.percentile(99)),
        // 20,000 a second on one core.
        Line::new(
            "dns.thousand",
            "a thousand answers, processor time",
            Value::Milliseconds(of_a_thousand),
            most(50.0),
        )
        .against("a thousand UDP echoes, one after another", thousand(echoes.median())),
    ])
}

fn thousand(one: Value) -> Value {
    Value::Milliseconds(one.number() * 1000.0)
}

/// Fields 14 and 15 of `/proc/<pid>/stat` (proc_pid_stat(5)), in all its threads.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("reading the daemon's stat")?;
    let fields = stat.rsplit_once(')').context("a stat without a name")?.1;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / clock_ticks_per_second()))
}
