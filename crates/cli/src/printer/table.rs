//! Lists for people: columns without lines, so that `awk` can read them too.

use super::data;
use crate::failure::Failure;
use comfy_table::{Table, presets};

/// Prints the heads, then the rows.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn table<const COLUMNS: usize>(
    heads: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    data(&super::harmless(&format!("{}\n", table.trim_fmt())))
}
