//! The parts of the page that draw: the headline, and the figures with what they
//! show.

use crate::study::{ALL_FOG, ALL_LOCAL, Study, THRESHOLD};

use super::super::figures::{self, escape, policy_class};
use super::super::summary::{Summary, TOLERANCE, Verdict};
use super::super::units::{count, difference, duration, plural, short_duration};
use super::section;

/// The policy that the page is about: the talk's, or else the first that decides.
pub(super) fn deciding(summary: &Summary) -> Option<&String> {
    let talk = summary.policies.iter().find(|p| *p == THRESHOLD);
    talk.or_else(|| summary.deciding().next())
}

/// The headline, what the study was, and its main numbers.
pub(super) fn top(study: &Study, summary: &Summary) -> String {
    let lead = format!(
        "{} on a slow device or on a fog host: {}, {}, {}. The same component runs in both \
         places; the policy decides for each input where.",
        plural(study.decisions.len(), "inference"),
        plural(summary.models.len(), "model"),
        policies(summary.policies.len()),
        plural(summary.links.len(), "emulated link"),
    );
    format!(
        "<header class=\"top\">\n<p class=\"brand\">Leeway lab</p>\n<h1>{}</h1>\n\
         <p class=\"lead\">{}</p>\n<ul class=\"cards\">\n{}</ul>\n</header>\n",
        escape(&headline(summary)),
        escape(&lead),
        cards(study, summary)
    )
}

fn policies(n: usize) -> String {
    if n == 1 { "1 policy".into() } else { format!("{n} policies") }
}

fn headline(summary: &Summary) -> String {
    let Some(policy) = deciding(summary) else {
        return "No policy decided anything in this study".into();
    };
    let verdicts: Vec<&Verdict> = summary.verdicts.iter().filter(|v| &v.policy == policy).collect();
    let within = verdicts.iter().filter(|v| v.within).count();
    match (within, verdicts.len()) {
        (_, 0) => "How the policies compare".into(),
        (w, n) if w == n => {
            format!("The {policy} policy matches or beats both fixed choices on every link")
        }
        (w, n) => {
            format!("The {policy} policy matches or beats both fixed choices on {w} of {n} links")
        }
    }
}

/// The text, kept on one line.
fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

fn card(value: &str, class: &str, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<li><b{class}>{}</b><span>{}</span></li>\n", escape(value), escape(text))
}

fn cards(study: &Study, summary: &Summary) -> String {
    let mut out = String::new();
    let Some(policy) = deciding(summary) else { return out };
    let verdicts: Vec<&Verdict> = summary.verdicts.iter().filter(|v| &v.policy == policy).collect();
    if !verdicts.is_empty() {
        let within = verdicts.iter().filter(|v| v.within).count();
        let class = if within == verdicts.len() { "good" } else { "warn" };
        let text = format!(
            "on which its total time is within {:.0} % of the better of all-local and all-fog",
            TOLERANCE * 100.0
        );
        out += &card(&format!("{within} of {}", plural(verdicts.len(), "link")), class, &text);
    }
    let sum = |policy: &str| {
        let of_policy = summary.totals.iter().filter(|t| t.policy == policy);
        of_policy.fold(0u64, |sum, t| sum.saturating_add(t.figures.total_ns))
    };
    for other in [ALL_LOCAL, ALL_FOG] {
        let (total, base) = (sum(policy), sum(other));
        if base > 0 {
            let text = format!(
                "total time than {other}, over all links: {} and {}",
                unbroken(&duration(total)),
                unbroken(&duration(base))
            );
            let text = if difference(total, base).ends_with('s') && total > base {
                text.replacen("total time than", "the total time of", 1)
            } else {
                text
            };
            out += &card(&difference(total, base), "", &text);
        }
    }
    let of_policy = || summary.totals.iter().filter(|t| &t.policy == policy).map(|t| &t.figures);
    let (misses, inputs): (usize, usize) =
        of_policy().fold((0, 0), |(m, n), f| (m + f.misses, n + f.inputs));
    let text = format!("of its {} answered after the deadline", plural(inputs, "input"));
    out += &card(&count(misses as u64), if misses == 0 { "good" } else { "warn" }, &text);
    out + &fuel_card(study) + &fallback_card(study)
}

/// Whether what was burned is what the certificates say.
fn fuel_card(study: &Study) -> String {
    let certified = |name: &str| study.models.iter().find(|m| m.name == name).map(|m| m.fuel);
    let exact = study.decisions.iter().filter(|d| certified(&d.model) == Some(d.fuel)).count();
    let all = study.decisions.len();
    let class = if exact == all { "good" } else { "warn" };
    let value = if exact == all { "exact".into() } else { count(exact as u64) };
    let text = match exact == all {
        true => format!("fuel: all {} burned what the certificate says", plural(all, "execution")),
        false => format!("of {} burned the certified fuel", plural(all, "execution")),
    };
    if all == 0 { String::new() } else { card(&value, class, &text) }
}

fn fallback_card(study: &Study) -> String {
    let fell = study.decisions.iter().filter(|d| d.placement == crate::study::FALLBACK).count();
    let text = "inputs, under all policies, that the fog host failed to answer and the device \
                answered instead";
    card(&count(fell as u64), "", text)
}

fn legend(summary: &Summary) -> String {
    let item = |policy: &String| {
        let class = policy_class(&summary.policies, policy);
        format!("<li class=\"{class}\"><i></i>{}</li>\n", escape(policy))
    };
    let items: String = summary.policies.iter().map(item).collect();
    format!("<ul class=\"legend\">\n{items}</ul>\n")
}

/// Bars by link.
pub(super) fn total_time(study: &Study, summary: &Summary) -> String {
    let links: Vec<&String> = summary
        .links
        .iter()
        .filter(|link| summary.totals.iter().any(|t| &t.link == *link))
        .collect();
    if links.is_empty() {
        return String::new();
    }
    let panel = |link: &&String| {
        let verdicts = summary.verdicts.iter().filter(|v| &v.link == *link);
        let verdicts: String = verdicts.map(verdict).collect();
        format!(
            "<div class=\"card\">\n<h3>{}</h3>\n{}{verdicts}</div>\n",
            escape(link),
            figures::total(summary, link)
        )
    };
    let panels: String = links.iter().map(panel).collect();
    let intro = format!(
        "The sum of all latencies by policy, from the release of an input to its answer, over {}. \
         Each link has its own scale.",
        plural(study.models.len(), "model")
    );
    let content = format!("{}<div class=\"grid five\">\n{panels}</div>\n", legend(summary));
    section("Total time", &intro, &content)
}

fn verdict(v: &Verdict) -> String {
    let (class, mark) = if v.within { ("good", "✓") } else { ("warn", "✗") };
    format!(
        "<p class=\"verdict\"><span class=\"{class}\">{mark}</span> {}: {}</p>\n",
        escape(&v.policy),
        escape(&compared(v))
    )
}

/// `3.1 % more than all-local`.
fn compared(v: &Verdict) -> String {
    let text = difference(v.total_ns, v.best_ns);
    match &*text {
        "the same" => format!("the same as {}", v.best),
        t if t.ends_with("times") => format!("{t} as long as {}", v.best),
        t => format!("{t} than {}", v.best),
    }
}

/// The threshold and the choices that follow from it.
pub(super) fn decision(study: &Study, summary: &Summary) -> String {
    let Some(policy) = deciding(summary) else { return String::new() };
    let mut content = String::new();
    if let Some(svg) = figures::decision(study, summary, policy) {
        content += &format!(
            "<div class=\"card\">\n<h3>Two sides of one inequality</h3>\n\
             <p class=\"note\">Each mark is one model over one link. On the diagonal, the talk's \
             threshold, device and fog host take the same time.</p>\n\
             <ul class=\"legend\">\n<li class=\"p0\"><i></i>{0} kept it on the device</li>\n\
             <li class=\"p1\"><i class=\"round\"></i>{0} sent it to the fog host</li>\n</ul>\n\
             <div class=\"scroll wide\">\n{svg}</div>\n</div>\n",
            escape(policy)
        );
    }
    for policy in summary.deciding() {
        if let Some(svg) = figures::offloaded(summary, policy) {
            content += &format!(
                "<div class=\"card stack\">\n<h3>Share of the inputs that {} offloads</h3>\n\
                 <p class=\"note\">By model and link.</p>\n<div class=\"scroll map\">\n{svg}</div>\n</div>\n",
                escape(policy)
            );
        }
    }
    section(
        "The decision",
        "The device offloads an input when the model's worst-case execution time on the device \
         exceeds T<sub>L</sub> + T<sub>F</sub>, the transfer over the link and the execution on the \
         fog host.",
        &content,
    )
}

/// Spread of the latencies by model.
pub(super) fn latency(study: &Study, summary: &Summary) -> String {
    let panel = |model: &crate::study::ModelInfo| {
        let svg = figures::latency(study, summary, model)?;
        Some(format!("<div class=\"card\">\n<h3>{}</h3>\n{svg}</div>\n", escape(&model.name)))
    };
    let panels: String = study.models.iter().filter_map(panel).collect();
    if panels.is_empty() {
        return String::new();
    }
    let content = format!("{}<div class=\"grid two\">\n{panels}</div>\n", legend(summary));
    section(
        "Latency and the deadline",
        "From the fastest to the slowest input: the box holds the middle half with the median in it, \
         the tick marks 99 %, the dot the slowest.",
        &content,
    )
}

/// How the WCETs came about.
pub(super) fn calibration(study: &Study) -> String {
    let panel = |model: &crate::study::ModelInfo| {
        let svg = figures::calibration(model)?;
        let about = format!(
            "{}, deadline {}",
            plural(model.calibration_ns.len(), "execution"),
            short_duration(model.deadline_ns)
        );
        Some(format!(
            "<div class=\"card\">\n<h3>{}</h3>\n<p class=\"note\">{}</p>\n{svg}</div>\n",
            escape(&model.name),
            escape(&about)
        ))
    };
    let panels: String = study.models.iter().filter_map(panel).collect();
    if panels.is_empty() {
        return String::new();
    }
    section(
        "Calibration",
        "Execution times on the device over the validation set, measured before the first decision. \
         The WCET is the worst input's: the highest, over the inputs, of the median time of an \
         input's undisturbed executions. What lies beyond it is the machine's noise.",
        &format!("<div class=\"grid two\">\n{panels}</div>\n"),
    )
}

/// The last line.
pub(super) fn bottom(study: &Study) -> String {
    format!(
        "<footer>\n<p>The numbers behind this page: <a href=\"summary.csv\">summary.csv</a>, \
         <a href=\"decisions.csv\">decisions.csv</a>, <a href=\"study.json\">study.json</a>. \
         Leeway {}.</p>\n</footer>\n",
        escape(&study.setup.leeway)
    )
}
