//! Lists for people: columns without lines, so that `awk` can read them too.

use super::data;
use crate::failure::Failure;
use unicode_width::UnicodeWidthStr as _;

/// Blanks between two columns.
const GAP: usize = 3;

/// Prints the heads, then the rows.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn table<const COLUMNS: usize>(
    heads: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<(), Failure> {
    data(&laid_out(heads, rows))
}

fn laid_out<const COLUMNS: usize>(
    heads: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(in_one_line)));
    let mut widest = [0; COLUMNS];
    for line in &lines {
        for (widest, cell) in widest.iter_mut().zip(line) {
            *widest = cell.width().max(*widest);
        }
    }
    let mut text = String::new();
    for line in &lines {
        // What is still to come before the next cell; nothing comes of it at the end of a line.
        let mut blanks = 0;
        for (widest, cell) in widest.iter().zip(line) {
            if !cell.is_empty() {
                text.extend(std::iter::repeat_n(' ', blanks));
                text.push_str(cell);
                blanks = 0;
            }
            blanks += widest + GAP - cell.width();
        }
        text.push('\n');
    }
    text
}

/// A cell holds no line's end, and nothing that a terminal would obey.
fn in_one_line(cell: String) -> String {
    if cell.contains(char::is_control) { cell.replace(char::is_control, "\u{fffd}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: &[[&str; 3]]) -> String {
        laid_out(["ID", "NAME", "NOTE"], rows.iter().map(|row| row.map(str::to_owned)))
    }

    #[test]
    fn columns_stand_below_each_other_and_lines_end_with_their_text() {
        assert_eq!(
            shown(&[["1", "a-long-name", ""], ["22222", "", "x"], ["3", "", ""]]),
            "ID      NAME          NOTE\n\
             1       a-long-name\n\
             22222                 x\n\
             3\n"
        );
        assert_eq!(shown(&[]), "ID   NAME   NOTE\n");
    }

    #[test]
    fn a_wide_character_takes_two_columns_and_a_combining_one_none() {
        assert_eq!(
            shown(&[["漢字", "e\u{301}", "x"], ["1", "b", "y"]]),
            "ID     NAME   NOTE\n漢字   e\u{301}      x\n1      b      y\n"
        );
    }

    #[test]
    fn a_cell_is_one_line_that_no_terminal_obeys() {
        assert_eq!(
            shown(&[["1", "a\nb\tc", "\x1b[2J\u{9b}"]]),
            "ID   NAME    NOTE\n1    a\u{fffd}b\u{fffd}c   \u{fffd}[2J\u{fffd}\n"
        );
    }
}
