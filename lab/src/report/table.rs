//! The summary as a table for the terminal, grouped by link.

use crate::study::Study;

use super::rows;
use super::summary::{Summary, TOLERANCE};
use super::units::{difference, duration};

/// Whether the terminal shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    On,
    /// Plain text.
    Off,
}

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const YELLOW: &str = "33";

const HEADINGS: [&str; NAMES + rows::CELLS] = [
    "model",
    "policy",
    "inputs",
    "accuracy",
    "offloaded",
    "median",
    "p99",
    "max",
    "total",
    "T_L",
    "T_F",
    "WCET",
    "missed",
    "fallback",
];
/// The columns of names; the others hold numbers and are aligned to the right.
const NAMES: usize = 2;

/// The table: for each link its models under each policy, the totals over the
/// models, and how the policies that decide compare with those that do not.
pub fn terminal_table(study: &Study, colour: Colour) -> String {
    let summary = Summary::of(study);
    if summary.rows.is_empty() {
        return "The study holds no decisions.\n".to_owned();
    }
    let mut blocks = Vec::new();
    for link in &summary.links {
        let rows: Vec<Line> = rows::of_link(&summary, link).into_iter().map(cells).collect();
        if !rows.is_empty() {
            blocks.push((link, rows));
        }
    }
    let widths = widths(blocks.iter().flat_map(|(_, rows)| rows));
    let mut out = String::new();
    for (link, rows) in &blocks {
        let about = study.links.iter().find(|l| &l.name == *link).map_or("", |l| &l.summary);
        out += &format!("{}  {}\n", colour.paint(BOLD, link), colour.paint(DIM, about));
        out += &colour.paint(DIM, &line(&HEADINGS.map(String::from), &widths));
        out.push('\n');
        for row in rows {
            out += &line(row, &widths);
            out.push('\n');
        }
        out += &verdict_lines(&summary, link, colour);
        out.push('\n');
    }
    out
}

type Line = [String; HEADINGS.len()];

fn cells(row: rows::Row) -> Line {
    let mut cells = row.cells.into_iter();
    std::array::from_fn(|column| match column {
        0 => row.model.to_owned(),
        1 => row.policy.to_owned(),
        _ => cells.next().expect("a cell for each heading"),
    })
}

fn widths<'a>(rows: impl Iterator<Item = &'a Line>) -> [usize; HEADINGS.len()] {
    let mut widths = HEADINGS.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn line(row: &Line, widths: &[usize; HEADINGS.len()]) -> String {
    let cell = |(i, (cell, &width)): (usize, (&String, &usize))| match i < NAMES {
        true => format!("  {cell:<width$}"),
        false => format!("  {cell:>width$}"),
    };
    let cells: String = row.iter().zip(widths).enumerate().map(cell).collect();
    cells.trim_end().to_owned()
}

fn verdict_lines(summary: &Summary, link: &str, colour: Colour) -> String {
    let of_link = summary.verdicts.iter().filter(|v| v.link == link);
    let line = |v: &super::Verdict| {
        let (code, mark) = if v.within { (GREEN, "within") } else { (YELLOW, "not within") };
        let text = format!(
            "  {}: {}, {} {} {} ({mark} {:.0} % of the better of all-local and all-fog)",
            v.policy,
            duration(v.total_ns),
            difference(v.total_ns, v.best_ns),
            if v.total_ns >= 3 * v.best_ns.max(1) { "that of" } else { "than" },
            v.best,
            TOLERANCE * 100.0,
        );
        colour.paint(code, &text.replace("the same than", "the same as")) + "\n"
    };
    of_link.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic;
    use super::*;

    #[test]
    fn the_table_of_the_study_by_hand() {
        let wanted = "\
wifi  3 ms
  model       policy     inputs  accuracy  offloaded   median      p99      max    total      T_L      T_F     WCET  missed  fallback
  cnn         all-local       4    75.0 %        0 %  10.0 ms  10.0 ms  10.0 ms  40.0 ms        -        -  12.0 ms       0         0
              all-fog         4    75.0 %      100 %  5.00 ms  5.00 ms  5.00 ms  20.0 ms  4.00 ms  1.00 ms  12.0 ms       0         0
              threshold       4    75.0 %     75.0 %  5.00 ms  31.0 ms  31.0 ms  50.0 ms  3.00 ms  1.00 ms  12.0 ms       1         1
  all models  all-local       4    75.0 %        0 %                    10.0 ms  40.0 ms                                  0         0
              all-fog         4    75.0 %      100 %                    5.00 ms  20.0 ms                                  0         0
              threshold       4    75.0 %     75.0 %                    31.0 ms  50.0 ms                                  1         1
  threshold: 50.0 ms, 150 % more than all-fog (not within 5 % of the better of all-local and all-fog)

";
        assert_eq!(terminal_table(&synthetic::by_hand(), Colour::Off), wanted);
    }

    #[test]
    fn no_line_of_a_large_study_is_wider_than_140_columns() {
        let table = terminal_table(&synthetic::study(20), Colour::Off);
        for line in table.lines() {
            assert!(line.chars().count() <= 140, "{line}");
        }
        assert!(table.lines().count() > 5 * 16);
    }

    #[test]
    fn colours_only_add_escapes() {
        let coloured = terminal_table(&synthetic::by_hand(), Colour::On);
        assert!(coloured.contains("\x1b[33m  threshold: 50.0 ms"));
        let mut plain = coloured.replace("\x1b[0m", "");
        for code in [BOLD, DIM, GREEN, YELLOW] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, terminal_table(&synthetic::by_hand(), Colour::Off));
    }

    #[test]
    fn an_empty_study_says_so() {
        assert_eq!(
            terminal_table(&synthetic::empty(), Colour::Off),
            "The study holds no decisions.\n"
        );
    }
}
