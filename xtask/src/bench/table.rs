//! The report: one row a figure, its target beside it.

use super::Figure;
use std::fmt::Write as _;
use std::time::Duration;

const HEAD: [&str; 7] = ["what", "took", "against", "took", "ratio", "target", ""];

/// Columns as wide as their widest cell.
pub(super) fn render(figures: &[Figure]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(figures.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            write!(line, "{cell:<width$}  ", width = width(column)).expect("a String takes everything");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(figure: &Figure) -> [String; 7] {
    [
        figure.what.to_owned(),
        milliseconds(figure.took),
        figure.against.to_owned(),
        milliseconds(figure.against_took),
        format!("{:.3}", figure.ratio()),
        format!("≤ {}", figure.at_most),
        if figure.is_met() { "PASS" } else { "MISS" }.to_owned(),
    ]
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::super::tests::figure;
    use super::*;

    #[test]
    fn target_and_figure_stand_side_by_side() {
        let table = render(&[figure(1810, 9020, 0.25), figure(9020, 9020, 0.25)]);
        let expected = "\
what        took     against                took     ratio  target
first exec  1810 ms  sshd in the same boot  9020 ms  0.201  ≤ 0.25  PASS
first exec  9020 ms  sshd in the same boot  9020 ms  1.000  ≤ 0.25  MISS
";
        assert_eq!(table, expected);
    }
}
