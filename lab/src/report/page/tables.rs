//! The tables of the page: all numbers by link, and the setup.

use crate::study::Study;

use super::super::figures::{escape, policy_class};
use super::super::rows::{self, Row};
use super::super::summary::Summary;
use super::super::units::{bytes, count, duration};
use super::section;

const HEADINGS: [&str; 14] = [
    "model",
    "policy",
    "inputs",
    "accuracy",
    "offloaded",
    "median",
    "p99",
    "max",
    "total",
    "T<sub>L</sub>",
    "T<sub>F</sub>",
    "WCET",
    "missed",
    "fallbacks",
];

/// All numbers, folded by link; the first is open.
pub(super) fn numbers(study: &Study, summary: &Summary) -> String {
    let mut content = String::new();
    for link in &summary.links {
        let rows = rows(summary, link);
        if rows.is_empty() {
            continue;
        }
        let about = study.links.iter().find(|l| &l.name == link).map_or("", |l| &l.summary);
        content += &format!(
            "<details{}>\n<summary>{} <span>{}</span></summary>\n<div class=\"scroll\">\n<table>\n\
             <thead>\n<tr>{}</tr>\n</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</details>\n",
            if content.is_empty() { " open=\"open\"" } else { "" },
            escape(link),
            escape(about),
            headings(&HEADINGS, 2)
        );
    }
    section(
        "All numbers",
        "Medians and quantiles are those of observed values (nearest rank). T<sub>L</sub> is the \
         measured round trip less what the fog host reports as its own time, T<sub>F</sub>.",
        &content,
    )
}

/// The first `texts` columns hold text, the others numbers.
fn headings(names: &[&str], texts: usize) -> String {
    let heading = |(i, name): (usize, &&str)| match i < texts {
        true => format!("<th class=\"text\">{name}</th>"),
        false => format!("<th>{name}</th>"),
    };
    names.iter().enumerate().map(heading).collect()
}

fn rows(summary: &Summary, link: &str) -> String {
    let rows = rows::of_link(summary, link);
    rows.iter().enumerate().map(|(i, row)| tr(row, i > 0, summary)).collect()
}

/// `below` some other row.
fn tr(row: &Row, below: bool, summary: &Summary) -> String {
    let class = match (row.is_total, below && !row.model.is_empty()) {
        (true, true) => " class=\"first total\"",
        (true, false) => " class=\"total\"",
        (false, true) => " class=\"first\"",
        (false, false) => "",
    };
    let cells: String = row.cells.iter().map(|c| format!("<td>{c}</td>")).collect();
    format!(
        "<tr{class}><th>{}</th><td class=\"text {}\"><span class=\"dot\"></span>{}</td>{cells}</tr>\n",
        escape(row.model),
        policy_class(&summary.policies, row.policy),
        escape(row.policy)
    )
}

/// The machine, the links and the components.
pub(super) fn setup(study: &Study) -> String {
    let setup = &study.setup;
    let cpu = match setup.device_cpu {
        Some(cpu) => format!("{}, the device pinned to CPU {cpu}", setup.cpu_model),
        None => format!("{}, the device not pinned", setup.cpu_model),
    };
    let engine = match &*setup.device_engine {
        "pulley" => "pulley, wasmtime's portable interpreter".to_owned(),
        other => other.to_owned(),
    };
    let items = [
        ("Machine", cpu),
        ("Device's engine", engine),
        ("Versions", format!("Leeway {}, wasmtime {}", setup.leeway, setup.wasmtime)),
        ("Seed", setup.seed.to_string()),
        ("Duration of the study", duration((setup.elapsed_s.max(0.0) * 1e9) as u64)),
    ];
    let item = |(term, text): &(&str, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(term), escape(text))
    };
    let items: String = items.iter().map(item).collect();
    let content = format!(
        "<div class=\"card\">\n<dl>\n{items}</dl>\n</div>\n{}{}",
        links(study),
        components(study)
    );
    section("Setup", "What ran, and with which figures.", &content)
}

fn links(study: &Study) -> String {
    let row = |l: &crate::study::LinkInfo| {
        let [name, summary, source] = [&l.name, &l.summary, &l.source].map(|t| escape(t));
        format!(
            "<tr><th>{name}</th><td class=\"wrap\">{summary}</td><td class=\"wrap\">{source}</td></tr>\n"
        )
    };
    let rows: String = study.links.iter().map(row).collect();
    card_table("Links", &headings(&["link", "figures", "source"], 3), &rows)
}

fn components(study: &Study) -> String {
    let row = |m: &crate::study::ModelInfo| {
        let cells = [
            count(m.fuel),
            count(m.macs),
            bytes(m.input_bytes),
            bytes(m.component_bytes),
            duration(m.median_ns),
            duration(m.wcet_ns),
            duration(m.deadline_ns),
            duration(m.bound_ns),
            format!("{} of {}", count(m.exceeded), count(m.executions)),
        ];
        let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
        let digest = escape(&m.digest);
        format!(
            "<tr><th>{}</th>{cells}<td class=\"wrap\"><code>{digest}</code></td></tr>\n",
            escape(&m.name)
        )
    };
    let rows: String = study.models.iter().map(row).collect();
    let names = [
        "fuel",
        "MACs",
        "input",
        "component",
        "median",
        "WCET",
        "deadline",
        "promised in the end",
        "runs over the promise",
    ];
    let head = format!(
        "<th class=\"text\">model</th>{}<th class=\"text\">digest</th>",
        headings(&names, 0)
    );
    card_table("Components", &head, &rows)
}

fn card_table(heading: &str, head: &str, rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"card stack\">\n<h3>{heading}</h3>\n<div class=\"scroll\">\n<table>\n\
         <thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</div>\n"
    )
}
