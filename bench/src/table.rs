//! The report: one row a line, the target beside the figure.

use crate::figure::{Line, Outcome, Target};
use std::fmt::Write as _;

const HEAD: [&str; 7] = ["what", "figure", "target", "", "against", "took", "ratio"];
const NOT_HERE: &str = "n/a";
const BROKEN: &str = "FAIL";

/// Columns as wide as their widest cell.
pub(crate) fn render(lines: &[Line]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(lines.iter().map(row)).collect();
    // What cannot be measured here is said in a sentence, which may be as long as it likes.
    let is_sentence = |row: &[String; 7]| row[3] == NOT_HERE || row[3] == BROKEN;
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column == 0 || !is_sentence(row));
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut table = String::new();
    for row in &rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(text, "{cell:<width$}  ").expect("a String takes everything");
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

fn sentence(what: &str, verdict: &str, why: &str) -> [String; 7] {
    [what, "–", "–", verdict, why, "", ""].map(str::to_owned)
}

fn row(line: &Line) -> [String; 7] {
    let figure = match &line.outcome {
        Outcome::Figure(figure) => figure,
        Outcome::NotHere(why) => return sentence(line.what, NOT_HERE, why),
        Outcome::Broken(why) => return sentence(line.what, BROKEN, why),
    };
    let (other, took) = figure
        .against
        .as_ref()
        .map_or_else(Default::default, |against| (against.what.to_owned(), against.value.to_string()));
    [
        line.what.to_owned(),
        figure.value.to_string(),
        figure.target.to_string(),
        match (figure.target, figure.is_met()) {
            (Target::Told, _) => "",
            (_, true) => "PASS",
            (_, false) => "MISS",
        }
        .to_owned(),
        other,
        took,
        figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Value::{Mebibytes, Milliseconds};

    #[test]
    fn target_and_figure_stand_side_by_side() {
        let table = render(&[
            Line::new("a", "first exec", Milliseconds(1810.0), Target::AtMostTimes(0.25))
                .against("sshd in the same boot", Milliseconds(9050.0)),
            Line::new("b", "daemon, idle", Mebibytes(21.0), Target::AtMost(Mebibytes(20.0))),
            Line::new("b.1", "  of that, its code", Mebibytes(9.0), Target::Told),
            Line::not_here("c", "root disk by reflink", "this file system has no reflink"),
        ]);
        let expected = "\
what                  figure    target          against                took     ratio
first exec            1810 ms   ≤ 0.25 ×  PASS  sshd in the same boot  9050 ms  0.200
daemon, idle          21.0 MiB  ≤ 20 MiB  MISS
  of that, its code   9.0 MiB   –
root disk by reflink  –         –         n/a   this file system has no reflink
";
        assert_eq!(table, expected);
    }
}
