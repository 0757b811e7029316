//! What a command costs that does next to nothing.

use super::{in_memory, rows};
use crate::figure::{Line, Target, Value};
use crate::samples::{in_turns, time};
use anyhow::{Result, ensure};
use serde_json::json;

const TURNS: usize = 100;
const ROWS: u32 = 1000;

pub(super) fn measure() -> Result<Vec<Line>> {
    let sandbox = in_memory::sandbox();
    rows::add(&sandbox, ROWS)?;
    let mut rpc = sandbox.rpc();
    let [version, list, ps, reference] = in_turns(
        TURNS,
        [
            &mut || Ok(sandbox.banger(["--version"]).time()),
            &mut || {
                // To the last byte of the answer; making sense of it is the other end's work, and in `ps`.
                time(|| {
                    let bytes = rpc.weigh("vm.list", &json!({}));
                    ensure!(bytes > 100 * ROWS as usize, "the list is too short: {bytes} bytes");
                    Ok(())
                })
            },
            &mut || Ok(sandbox.banger(["ps"]).time()),
            &mut || Ok(sandbox.tool("true", [""; 0]).time()),
        ],
    )?;
    drop(rpc);
    rows::remove(&sandbox)?;
    let other = reference.median();
    let ms = Value::Milliseconds;
    Ok(vec![
        Line::new("version", "`banger --version`", version.median(), Target::AtMostMore(ms(3.0)))
            .against("spawning `true`", other),
        Line::new("ps.daemon", "1,000 VMs listed, daemon", list.median(), Target::AtMost(ms(10.0)))
            .against("spawning `true`", other),
        Line::new("ps", "`banger ps` of 1,000 VMs", ps.median(), Target::AtMost(ms(20.0)))
            .against("spawning `true`", other),
    ])
}
