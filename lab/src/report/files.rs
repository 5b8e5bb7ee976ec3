//! The report's files in one folder: `index.html`, `summary.csv`, `decisions.csv`
//! and `study.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::study::Study;

use super::page;
use super::summary::{Figures, Summary};

/// Where a report was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page.
    pub index: PathBuf,
    /// The numbers of the tables, a row for each link, model and policy.
    pub summary: PathBuf,
    /// Every decision, a row each.
    pub decisions: PathBuf,
    /// The study as it stands.
    pub study: PathBuf,
}

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder or a file.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record that has no place in the file's format.
    #[error("cannot write {}: {message}", path.display())]
    Format {
        /// What was to be written.
        path: PathBuf,
        /// What the format's writer says.
        message: String,
    },
}

/// Writes the report of `study` into the folder `dir`, which is created where it
/// is missing; files of an earlier report are overwritten.
pub fn write(study: &Study, dir: &Path) -> Result<ReportFiles, ReportError> {
    fs::create_dir_all(dir)
        .map_err(|source| ReportError::Write { path: dir.to_owned(), source })?;
    let files = ReportFiles {
        index: dir.join("index.html"),
        summary: dir.join("summary.csv"),
        decisions: dir.join("decisions.csv"),
        study: dir.join("study.json"),
    };
    let format =
        |path: &Path, message: String| ReportError::Format { path: path.to_owned(), message };
    let summary = csv_bytes(&summary_records(&Summary::of(study)));
    let summary = summary.map_err(|e| format(&files.summary, e.to_string()))?;
    let decisions = csv_bytes(&study.decisions);
    let decisions = decisions.map_err(|e| format(&files.decisions, e.to_string()))?;
    let json = serde_json::to_vec_pretty(study);
    let json = json.map_err(|e| format(&files.study, e.to_string()))?;
    save(&files.summary, &summary)?;
    save(&files.decisions, &decisions)?;
    save(&files.study, &json)?;
    save(&files.index, page::html(study).as_bytes())?;
    Ok(files)
}

pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

/// Comma-separated values with a line of headings (RFC 4180); nothing at all for
/// no rows.
pub(super) fn csv_bytes<T: Serialize>(rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))
}

/// A row of `summary.csv`; `model` is empty in the totals over all models.
#[derive(Serialize)]
struct SummaryRecord<'a> {
    link: &'a str,
    model: &'a str,
    policy: &'a str,
    inputs: usize,
    accuracy: f64,
    offloaded: f64,
    median_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
    total_ns: u64,
    tl_median_ns: Option<u64>,
    tf_median_ns: Option<u64>,
    wcet_ns: Option<u64>,
    deadline_ns: Option<u64>,
    deadline_misses: usize,
    fallbacks: usize,
}

impl<'a> SummaryRecord<'a> {
    fn new(
        names: [&'a str; 3],
        f: &Figures,
        wcet_ns: Option<u64>,
        deadline_ns: Option<u64>,
    ) -> Self {
        let share = |part: usize| part as f64 / f.inputs.max(1) as f64;
        let [link, model, policy] = names;
        Self {
            link,
            model,
            policy,
            inputs: f.inputs,
            accuracy: share(f.right),
            offloaded: share(f.offloaded),
            median_ns: f.median_ns,
            p99_ns: f.p99_ns,
            max_ns: f.max_ns,
            total_ns: f.total_ns,
            tl_median_ns: f.tl_ns,
            tf_median_ns: f.tf_ns,
            wcet_ns,
            deadline_ns,
            deadline_misses: f.misses,
            fallbacks: f.fallbacks,
        }
    }
}

fn summary_records(summary: &Summary) -> Vec<SummaryRecord<'_>> {
    let rows = summary.rows.iter().map(|r| {
        SummaryRecord::new([&r.link, &r.model, &r.policy], &r.figures, r.wcet_ns, r.deadline_ns)
    });
    let totals = summary.totals.iter();
    let totals =
        totals.map(|t| SummaryRecord::new([&t.link, "", &t.policy], &t.figures, None, None));
    rows.chain(totals).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic;
    use super::*;
    use crate::study::DecisionRow;

    fn report(study: &Study) -> (tempfile::TempDir, ReportFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = write(study, &dir.path().join("lab-report")).unwrap();
        (dir, files)
    }

    #[test]
    fn the_decisions_parse_back_as_they_were() {
        let study = synthetic::by_hand();
        let (_dir, files) = report(&study);
        let mut reader = csv::Reader::from_path(&files.decisions).unwrap();
        let rows: Vec<DecisionRow> = reader.deserialize().map(Result::unwrap).collect();
        let json = |rows: &[DecisionRow]| serde_json::to_value(rows).unwrap();
        assert_eq!(json(&rows), json(&study.decisions));

        let stored: Study = serde_json::from_slice(&fs::read(&files.study).unwrap()).unwrap();
        assert_eq!(json(&stored.decisions), json(&study.decisions));
    }

    #[test]
    fn the_summary_has_a_row_for_each_combination_and_the_totals() {
        let (_dir, files) = report(&synthetic::by_hand());
        let text = fs::read_to_string(&files.summary).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 3 + 3);
        assert_eq!(
            lines[3],
            "wifi,cnn,threshold,4,0.75,0.75,5000000,31000000,31000000,50000000,3000000,1000000,\
             12000000,30000000,1,1"
        );
        assert!(lines[6].starts_with("wifi,,threshold,4,0.75,"));
    }

    #[test]
    fn the_same_study_gives_the_same_bytes() {
        let [(_a, a), (_b, b)] = [report(&synthetic::study(5)), report(&synthetic::study(5))];
        for (a, b) in [(&a.index, &b.index), (&a.summary, &b.summary), (&a.decisions, &b.decisions)]
        {
            assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{}", a.display());
        }
    }

    #[test]
    fn an_empty_study_has_a_report_too() {
        let (_dir, files) = report(&synthetic::empty());
        assert_eq!(fs::read(&files.decisions).unwrap(), b"");
        assert!(fs::metadata(&files.index).unwrap().len() > 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&synthetic::empty(), &file).unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("file"), "{error}");
    }

    /// Not a test: writes the page of a synthetic study, to be looked at.
    #[test]
    #[ignore = "writes a page to be looked at into the folder LEEWAY_PREVIEW"]
    fn preview() {
        let dir = std::env::var_os("LEEWAY_PREVIEW").expect("a folder in LEEWAY_PREVIEW");
        write(&synthetic::study(200), Path::new(&dir)).unwrap();
    }
}
