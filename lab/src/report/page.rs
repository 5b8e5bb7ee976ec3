//! The page: one HTML file with its style and figures inside, that loads nothing
//! and runs nothing.

mod prose;
mod sections;
mod tables;

use crate::study::Study;

use super::figures::escape;
use super::summary::Summary;

pub(super) const STYLE: &str = include_str!("style.css");

/// The page of a study. Well-formed XML as well as HTML.
pub fn html(study: &Study) -> String {
    let summary = Summary::of(study);
    let body = [
        sections::top(study, &summary),
        "<main>\n".to_owned(),
        sections::total_time(study, &summary),
        sections::decision(study, &summary),
        sections::latency(study, &summary),
        sections::calibration(study),
        tables::numbers(study, &summary),
        prose::emulated(study),
        tables::setup(study),
        prose::source(),
        "</main>\n".to_owned(),
        sections::bottom(study),
    ];
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>Leeway lab report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        body.concat()
    )
}

/// A section with its heading and a sentence or two; nothing where it is empty.
pub(super) fn section(heading: &str, intro: &str, content: &str) -> String {
    match content {
        "" => String::new(),
        content => format!(
            "<section>\n<h2>{}</h2>\n<p>{intro}</p>\n{content}</section>\n",
            escape(heading)
        ),
    }
}

#[cfg(test)]
mod tests;
