//! `leeway doctor`: whether this machine is fit to run models within deadlines, and
//! what to do where it is not.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use leeway_runtime::doctor::{Finding, Host, Severity, examine};
use leeway_runtime::sysfs::Root;

use super::{default_store, print, print_json};

/// Check whether this machine is fit to run models within deadlines: kernel,
/// rights, processor, sensors, storage, clocks. Fails where something keeps Leeway
/// from working as it should; what only limits what can be promised is a warning.
#[derive(Args)]
pub struct Arguments {
    /// Where calibrations and modules are to be kept; by default with the user's
    /// data.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Examine a copy of another machine's `proc` and `sys`, in this directory.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Fail on warnings as well.
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let default = || default_store().unwrap_or_else(|_| "/var/lib/leeway".into());
    let (root, host) = match &arguments.root {
        None => {
            let data = arguments.data.clone().unwrap_or_else(default);
            (Root::default(), Host::of_this_machine(&absolute(&data)))
        }
        Some(root) => {
            let data = arguments.data.clone().unwrap_or_else(|| "/var/lib/leeway".into());
            (Root::new(root), Host::recorded(&data))
        }
    };
    let findings = examine(&root, &host);
    match arguments.json {
        true => print_json(&findings)?,
        false => print(&text(&findings))?,
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (failures, warnings) = (count(Severity::Failure), count(Severity::Warning));
    if failures > 0 || (arguments.strict && warnings > 0) {
        bail!("of {} checks, {failures} failed and {warnings} warn", findings.len());
    }
    Ok(())
}

/// Columns of the table: a terminal's width is not asked for, so that what goes into
/// a file looks the same.
const WIDTH: u16 = 120;

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn text(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["", "check", "seen", "what to do"]);
    for finding in findings {
        let word = match finding.severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Failure => "FAILURE",
        };
        let advice = finding.advice.as_deref().unwrap_or_default();
        table.add_row([word, finding.check, &finding.seen, advice]);
    }
    table.to_string()
}
