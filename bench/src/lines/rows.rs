//! A database with many VMs in it, without making them: one is, and its row is copied.

use anyhow::{Context as _, Result};
use banger_e2e::Sandbox;
use rusqlite::Connection;

/// Gives a sandbox this many stopped VMs. The daemon is stopped meanwhile, and not running afterwards.
pub(super) fn add(sandbox: &Sandbox, count: u32) -> Result<()> {
    drop(sandbox.banger(["vm", "create", "--name", "vm-0"]).run().expect_success());
    drop(sandbox.banger(["vm", "stop", "vm-0"]).run().expect_success());
    let database = stopped(sandbox)?;
    let columns = database.prepare("SELECT * FROM vms").context("the table of VMs")?;
    let columns: Vec<String> = columns.column_names().into_iter().map(str::to_owned).collect();
    let copied = columns.iter().map(|column| match column.as_str() {
        "id" => "printf('%012x', ?1)",
        "name" => "'vm-' || ?1",
        "address" => "address + ?1",
        other => other,
    });
    let copied: Vec<&str> = copied.collect();
    let statement = format!("INSERT INTO vms SELECT {} FROM vms WHERE name = 'vm-0'", copied.join(", "));
    database.execute_batch("BEGIN").context("beginning")?;
    for number in 1..count {
        database.execute(&statement, [number]).context("copying a row")?;
    }
    database.execute_batch("COMMIT").context("committing")
}

/// Takes the copies back and deletes the one VM that was made.
pub(super) fn remove(sandbox: &Sandbox) -> Result<()> {
    stopped(sandbox)?.execute("DELETE FROM vms WHERE name <> 'vm-0'", []).context("removing rows")?;
    drop(sandbox.banger(["vm", "delete", "vm-0"]).run().expect_success());
    Ok(())
}

/// The database, with nobody else using it.
fn stopped(sandbox: &Sandbox) -> Result<Connection> {
    drop(sandbox.banger(["daemon", "stop"]).run().expect_success());
    let path = sandbox.state().join("banger.db");
    Connection::open(path).context("opening the database")
}
