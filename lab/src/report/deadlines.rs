//! The report of a study of deadlines: `index.html`, `outcomes.csv` and `study.json`
//! in one folder, and lines for the terminal.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ReportError;
use super::figures::{deadlines as figures, escape};
use super::files::{csv_bytes, save};
use super::page::{STYLE, section};
use super::units::{count, duration, percent, plural};
use crate::deadlines::{DeadlineStudy, Histogram, Outcome, PolicyInfo};

/// What some outcomes have together.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Inputs that were answered.
    pub inputs: u64,
    /// Late ones.
    pub missed: u64,
    /// Sent to the fog host.
    pub sent: u64,
    /// Answered by it.
    pub by_fog: u64,
    /// Replies that came late, or were none.
    pub discarded: u64,
    /// Response times.
    pub total_ns: u64,
    /// The same under the hindsight oracle.
    pub hindsight_ns: u64,
    /// What the device spent.
    pub joules: f64,
    /// By how much each input took longer than under the oracle, as a part of its
    /// deadline.
    pub regret: Histogram,
}

/// Adds outcomes up.
pub fn sums<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Sums {
    let mut sums = Sums::default();
    for outcome in outcomes {
        sums.inputs += outcome.inputs;
        sums.missed += outcome.missed;
        sums.sent += outcome.sent;
        sums.by_fog += outcome.by_fog;
        sums.discarded += outcome.discarded;
        sums.total_ns += outcome.total_ns;
        sums.hindsight_ns += outcome.hindsight_ns;
        sums.joules += outcome.joules;
        sums.regret.merge(&outcome.regret);
    }
    sums
}

/// Of one policy, everywhere.
pub fn of_policy(study: &DeadlineStudy, policy: &str) -> Sums {
    sums(study.outcomes.iter().filter(|outcome| outcome.policy == policy))
}

/// Writes the report into the folder `dir`, which is made where it is missing; returns
/// where the page is.
pub fn write(study: &DeadlineStudy, dir: &Path) -> Result<PathBuf, ReportError> {
    fs::create_dir_all(dir)
        .map_err(|source| ReportError::Write { path: dir.to_owned(), source })?;
    let format =
        |path: &Path, message: String| ReportError::Format { path: path.to_owned(), message };
    let rows: Vec<Row<'_>> = study.outcomes.iter().map(Row::of).collect();
    let outcomes = dir.join("outcomes.csv");
    let bytes = csv_bytes(&rows).map_err(|error| format(&outcomes, error.to_string()))?;
    save(&outcomes, &bytes)?;
    let json = dir.join("study.json");
    let bytes = serde_json::to_vec(study).map_err(|error| format(&json, error.to_string()))?;
    save(&json, &bytes)?;
    let index = dir.join("index.html");
    save(&index, html(study).as_bytes())?;
    Ok(index)
}

/// A row of `outcomes.csv`.
#[derive(Serialize)]
struct Row<'a> {
    scenario: &'a str,
    policy: &'a str,
    stream: &'a str,
    inputs: u64,
    missed: u64,
    sent: u64,
    by_fog: u64,
    discarded: u64,
    total_ns: u64,
    hindsight_ns: u64,
    joules: f64,
}

impl<'a> Row<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        Self {
            scenario: &outcome.scenario,
            policy: &outcome.policy,
            stream: &outcome.stream,
            inputs: outcome.inputs,
            missed: outcome.missed,
            sent: outcome.sent,
            by_fog: outcome.by_fog,
            discarded: outcome.discarded,
            total_ns: outcome.total_ns,
            hindsight_ns: outcome.hindsight_ns,
            joules: outcome.joules,
        }
    }
}

/// What a policy did, in the words of the tables: inputs, late, sent, answered by the
/// fog host, asked in vain, response time over the oracle's, regret that 99 % of the inputs
/// do not exceed, energy.
fn cells(sums: &Sums) -> [String; 8] {
    let part = |part: u64| percent(part as usize, sums.inputs as usize);
    [
        count(sums.inputs),
        count(sums.missed),
        part(sums.sent),
        part(sums.by_fog),
        count(sums.discarded),
        format!("{:.2}", sums.total_ns as f64 / sums.hindsight_ns.max(1) as f64),
        format!("{:.1} %", 100.0 * sums.regret.quantile(0.99)),
        format!("{:.2} mJ", 1e3 * sums.joules / sums.inputs.max(1) as f64),
    ]
}

/// A line for each policy.
pub fn terminal(study: &DeadlineStudy) -> String {
    let heads = ["inputs", "late", "sent", "by fog", "in vain", "of best", "99 % regret", "energy"];
    let mut lines = vec![format!("{:15}{}", "", heads.map(|head| format!("{head:>12}")).concat())];
    for policy in &study.policies {
        let cells = cells(&of_policy(study, &policy.name)).map(|cell| format!("{cell:>12}"));
        lines.push(format!("{:15}{}", policy.name, cells.concat()));
    }
    lines.join("\n")
}

/// The page. Well-formed XML as well as HTML.
pub fn html(study: &DeadlineStudy) -> String {
    let body = [
        top(study),
        "<main>\n".to_owned(),
        responses(study),
        regret(study),
        timeline(study),
        energy(study),
        policies(study),
        streams(study),
        scenarios(study),
        setup(study),
        "</main>\n".to_owned(),
        bottom(study),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>Leeway lab: deadlines</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\
         </body>\n</html>\n",
        body.concat()
    )
}

fn top(study: &DeadlineStudy) -> String {
    let aware = of_policy(study, "deadline-aware");
    let headline = match aware.missed {
        0 => "No admitted deadline was missed, whatever the network did".to_owned(),
        missed => format!("{} admitted deadlines were missed", count(missed)),
    };
    let lead = format!(
        "{} on a slow device with a fog host, over {}. The same inputs meet the same luck under each \
         of {}.",
        plural(study.streams.len(), "stream"),
        plural(study.scenarios.len(), "link"),
        policies_in_words(study.policies.len()),
    );
    let card = |value: &str, class: &str, text: &str| {
        format!(
            "<li><b class=\"{class}\">{}</b><span>{}</span></li>\n",
            escape(value),
            escape(text)
        )
    };
    let class = if aware.missed == 0 { "good" } else { "warn" };
    let alone = of_policy(study, "threshold");
    let local = of_policy(study, "all-local");
    let ratio = |sums: &Sums| sums.total_ns as f64 / sums.hindsight_ns.max(1) as f64;
    let cards = [
        card(
            &count(aware.missed),
            class,
            &format!("of {} missed under deadline-aware", plural(aware.inputs as usize, "input")),
        ),
        card(
            &count(alone.missed),
            "warn",
            "missed by the threshold policy, which waits for the fog host without compensation",
        ),
        card(
            &format!("{:.2} times", ratio(&aware)),
            "",
            &format!(
                "the oracle's response times under deadline-aware; {:.2} times where everything stays \
                 on the device",
                ratio(&local)
            ),
        ),
    ];
    format!(
        "<header class=\"top\">\n<p class=\"brand\">Leeway lab</p>\n<h1>{}</h1>\n\
         <p class=\"lead\">{}</p>\n<ul class=\"cards\">\n{}</ul>\n</header>\n",
        escape(&headline),
        escape(&lead),
        cards.concat()
    )
}

fn policies_in_words(n: usize) -> String {
    if n == 1 { "1 policy".into() } else { format!("{n} policies") }
}

fn responses(study: &DeadlineStudy) -> String {
    let highest = |policy: &PolicyInfo| {
        figures::total(study, &policy.name).bins().iter().copied().max().unwrap_or(0)
    };
    let most = study.policies.iter().map(highest).max().unwrap_or(0);
    let panel = |policy: &PolicyInfo| {
        let how = match (&*policy.name, policy.compensated) {
            ("hindsight", _) => "It knows of each input how long either choice takes.",
            (_, true) => "The device begins by itself in time.",
            (_, false) => "The device begins when the fog host has failed.",
        };
        format!(
            "<div class=\"card\">\n<h3>{}</h3>\n<p class=\"note\">{how}</p>\n{}</div>\n",
            escape(&policy.name),
            figures::responses(study, &policy.name, most)
        )
    };
    let panels: String = study.policies.iter().map(panel).collect();
    section(
        "Response times and the deadline",
        "All streams over all links, from an input's arrival to its answer, as a part of its \
         stream's deadline. Right of the dashed line answers are late.",
        &format!("<div class=\"grid two\">\n{panels}</div>\n"),
    )
}

fn regret(study: &DeadlineStudy) -> String {
    let figure = figures::regret(study).unwrap_or_default();
    section(
        "Regret",
        "Each mark is one link: the response times of all its inputs over those under the hindsight \
         oracle, which knows of each input how long either choice takes. It does not know what that \
         means for the inputs after it, so that a policy may be a little better. The line is the \
         median.",
        &format!("<div class=\"card\">\n<div class=\"scroll wide\">\n{figure}</div>\n</div>\n"),
    )
}

fn timeline(study: &DeadlineStudy) -> String {
    let Some(figure) = figures::timeline(study) else { return String::new() };
    section(
        "A link that degrades and recovers",
        "The rate of the link, and below it the share of the inputs that each policy sends in that \
         second.",
        &format!("<div class=\"card\">\n<div class=\"scroll wide\">\n{figure}</div>\n</div>\n"),
    )
}

fn energy(study: &DeadlineStudy) -> String {
    section(
        "Energy",
        "What the device spends on an input over being idle, by its declared power and the times that \
         came out: computing, sending and receiving. An input that is offloaded and compensated \
         costs both, up to the device's own answer, which ends the exchange.",
        &format!(
            "<div class=\"card\">\n<div class=\"scroll wide\">\n{}</div>\n</div>\n",
            figures::energy(study)
        ),
    )
}

/// A table with its first column as headings.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let row = |cells: Vec<String>| {
        let cells = cells.iter().enumerate().map(|(i, cell)| match i {
            0 => format!("<th>{}</th>", escape(cell)),
            _ => format!("<td>{}</td>", escape(cell)),
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = rows.map(row).collect();
    format!(
        "<div class=\"card\">\n<div class=\"scroll\">\n<table>\n<thead><tr>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n</div>\n"
    )
}

fn policies(study: &DeadlineStudy) -> String {
    let heads = [
        "policy",
        "inputs",
        "late",
        "sent",
        "by the fog host",
        "in vain",
        "of the oracle's time",
        "99 % regret",
        "energy",
    ];
    let row = |policy: &PolicyInfo| {
        let cells = cells(&of_policy(study, &policy.name));
        std::iter::once(policy.name.clone()).chain(cells).collect()
    };
    section(
        "Policies",
        "Over all streams and links. The fog host was asked in vain where no answer that counts \
         came in time; the device's own answer ends the exchange. 99 % of the inputs took no \
         longer than under the oracle by more than their regret, a part of the deadline. Energy \
         is that of an input.",
        &table(&heads, study.policies.iter().map(row)),
    )
}

fn streams(study: &DeadlineStudy) -> String {
    let heads = [
        "stream",
        "period",
        "deadline",
        "WCET",
        "promised time",
        "on the fog host",
        "worst response",
        "waits for the fog host",
    ];
    let row = |stream: &crate::deadlines::StreamInfo| {
        let times = [
            stream.period_ns,
            stream.deadline_ns,
            stream.wcet_ns,
            stream.bound_ns,
            stream.fog_ns,
            stream.response_ns,
            stream.arm_after_ns,
        ];
        std::iter::once(stream.name.clone()).chain(times.map(duration)).collect()
    };
    section(
        "What was admitted",
        "By earliest deadline first on one core. The worst response counts on no answer of the fog \
         host ever coming.",
        &table(&heads, study.streams.iter().map(row)),
    )
}

fn scenarios(study: &DeadlineStudy) -> String {
    // Draws of one kind have one source.
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for scenario in &study.scenarios {
        match kinds.iter_mut().find(|(source, _)| *source == scenario.source) {
            Some((_, names)) => names.push(&scenario.name),
            None => kinds.push((&scenario.source, vec![&scenario.name])),
        }
    }
    let item = |(source, names): &(&str, Vec<&str>)| {
        format!("<li><b>{}</b>: {}</li>\n", escape(&names.join(", ")), escape(source))
    };
    let items: String = kinds.iter().map(item).collect();
    let sources: String = study
        .policies
        .iter()
        .map(|policy| {
            format!("<li><b>{}</b>: {}</li>\n", escape(&policy.name), escape(&policy.source))
        })
        .collect();
    section(
        "Links and policies, and whose they are",
        "No recorded bandwidth trace is part of Leeway: links over time are drawn from published \
         models, which are named. The option --trace FILE adds one of your own.",
        &format!(
            "<div class=\"columns\">\n<div class=\"card\"><h3>Links</h3><ul>\n{items}</ul></div>\n\
             <div class=\"card\"><h3>Policies</h3><ul>\n{sources}</ul></div>\n</div>\n"
        ),
    )
}

fn setup(study: &DeadlineStudy) -> String {
    let setup = &study.setup;
    let power = &setup.power;
    let watts = format!(
        "{} W idle, {} W computing, {} W sending, {} W receiving; declared, not measured",
        power.idle_watts, power.busy_watts, power.transmit_watts, power.receive_watts
    );
    let terms = [
        (
            "Simulated",
            "arrivals, the link, the passing of time; each link for ".to_owned()
                + &format!("{} s", setup.seconds),
        ),
        (
            "Measured",
            format!(
                "execution times, on the Pulley interpreter (device) and native (fog \
                              host), of {}",
                setup.cpu
            ),
        ),
        ("Real", "the executor, the estimates, the policies, admission".to_owned()),
        ("Power", watts),
        ("Seed", setup.seed.to_string()),
        ("Versions", format!("Leeway {}, wasmtime {}", setup.leeway, setup.wasmtime)),
        ("Took", format!("{:.0} s", setup.elapsed_s)),
    ];
    let term = |(name, text): &(&str, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(text))
    };
    let list: String = terms.iter().map(term).collect();
    let content = format!("<div class=\"card\"><dl>\n{list}</dl></div>\n");
    section("Setup", "What is made up, and what is not.", &content)
}

fn bottom(study: &DeadlineStudy) -> String {
    format!(
        "<footer>\n<p>The numbers behind this page: <a href=\"outcomes.csv\">outcomes.csv</a>, \
         <a href=\"study.json\">study.json</a>. Leeway {}.</p>\n</footer>\n",
        escape(&study.setup.leeway)
    )
}
