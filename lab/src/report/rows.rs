//! The rows of the tables, for the terminal and for the page.

use super::summary::{Figures, Summary};
use super::units::{count, duration, duration_or_dash, percent};

/// The numbers of a row.
pub(super) const CELLS: usize = 12;

/// One policy over one link, for one model or for all.
pub(super) struct Row<'a> {
    /// The model; empty where it is the row before's.
    pub model: &'a str,
    /// The policy.
    pub policy: &'a str,
    /// Whether it is over all models.
    pub is_total: bool,
    /// Inputs, accuracy, offloaded, median, p99, max, total, T_L, T_F, WCET,
    /// missed, fallbacks.
    pub cells: [String; CELLS],
}

/// The rows of a link: its models under each policy, and then all models.
pub(super) fn of_link<'a>(summary: &'a Summary, link: &str) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut named = None;
    for row in summary.rows.iter().filter(|row| row.link == link) {
        // A model is named once, above its policies.
        let again = named.replace(&*row.model) == Some(&*row.model);
        rows.push(Row {
            model: if again { "" } else { &row.model },
            policy: &row.policy,
            is_total: false,
            cells: cells(&row.figures, duration_or_dash, row.wcet_ns),
        });
    }
    let totals = summary.totals.iter().filter(|total| total.link == link);
    rows.extend(totals.enumerate().map(|(i, total)| Row {
        model: if i == 0 { "all models" } else { "" },
        policy: &total.policy,
        is_total: true,
        // Over models of different size, quantiles of times say nothing.
        cells: cells(&total.figures, |_| String::new(), None),
    }));
    rows
}

/// `of_one_model` writes a time that says something of one model only.
fn cells(
    f: &Figures,
    of_one_model: impl Fn(Option<u64>) -> String,
    wcet_ns: Option<u64>,
) -> [String; CELLS] {
    [
        count(f.inputs as u64),
        percent(f.right, f.inputs),
        percent(f.offloaded, f.inputs),
        of_one_model(f.median_ns),
        of_one_model(f.p99_ns),
        duration_or_dash(f.max_ns),
        duration(f.total_ns),
        of_one_model(f.tl_ns),
        of_one_model(f.tf_ns),
        of_one_model(wcet_ns),
        count(f.misses as u64),
        count(f.fallbacks as u64),
    ]
}
