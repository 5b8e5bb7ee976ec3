//! Recorded bandwidth traces, of users' own files, in the two formats that most are in.
//!
//! - Mahimahi's (R. Netravali et al., "Mahimahi: Accurate Record-and-Replay for HTTP",
//!   USENIX ATC 2015; `mm-link(1)`): on each line a time in milliseconds at which one
//!   packet of 1500 bytes may leave. The last time is the length, after which the trace
//!   begins again. `NAME.up` and `NAME.down` are the two directions of one link.
//! - Two columns, the time in seconds and the throughput in Mbit/s until then, as
//!   simulators of video streaming read them (Pensieve, SIGCOMM 2017).
//!
//! A trace tells the rate. Delay, jitter and loss are those of a profile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scenario::{Condition, Family, Scenario};
use crate::link::LinkProfile;

/// The rate is constant within a slot.
const SLOT_MS: u64 = 100;
const PACKET_BITS: u64 = 1_500 * 8;
/// The longest trace that is read: a day.
const LONGEST_MS: u64 = 24 * 3_600_000;
/// The largest file.
const LARGEST_BYTES: u64 = 64 << 20;

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is in neither format.
    #[error("{path} is no bandwidth trace: {reason}")]
    Format {
        /// Which.
        path: PathBuf,
        /// The line, what was seen there and what is wanted.
        reason: String,
    },
}

/// A recorded trace: the rates of both directions over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The file's name.
    pub name: String,
    up: Rates,
    down: Rates,
}

/// A rate over time, which begins again at its end.
#[derive(Clone, Debug, PartialEq)]
enum Rates {
    /// The times in milliseconds at which a packet may leave; the last is the length.
    Opportunities(Vec<u64>),
    /// Until which millisecond, and how many bits per second.
    Steps(Vec<(u64, u64)>),
}

impl Trace {
    /// Reads it from a file, and where that is one of a pair, `NAME.up` and
    /// `NAME.down`, the other direction from the other one.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let pair = [path.with_extension("up"), path.with_extension("down")];
        let direction = path.extension().and_then(|extension| extension.to_str());
        if matches!(direction, Some("up" | "down")) && pair.iter().all(|file| file.is_file()) {
            return Ok(Self { name, up: rates(&pair[0])?, down: rates(&pair[1])? });
        }
        let both = rates(path)?;
        Ok(Self { name, up: both.clone(), down: both })
    }

    /// The link over time.
    pub(super) fn scenario(&self, length: Duration) -> Scenario {
        let base = LinkProfile { outages: None, ..super::scenario::named("lte") };
        let slots = u64::try_from(length.as_millis()).unwrap_or(LONGEST_MS) / SLOT_MS + 1;
        let condition = |slot: u64| {
            let rate = |rates: &Rates| rates.bits_per_s(slot * SLOT_MS, SLOT_MS);
            let (up, down) = (rate(&self.up), rate(&self.down));
            let profile = LinkProfile { up_bits_per_s: up, down_bits_per_s: down, ..base.clone() };
            let from = Duration::from_millis(slot * SLOT_MS);
            Condition { from, profile: (up > 0 && down > 0).then_some(profile) }
        };
        Scenario {
            name: format!("trace {}", self.name),
            family: Family::Trace,
            source:
                "A recorded trace, of a file that was given: its rates, in slots of 100 ms; the \
                     delay, jitter and loss of lte."
                    .into(),
            conditions: (0..slots).map(condition).collect(),
            length,
            seed: 0,
        }
    }
}

impl Rates {
    /// The mean rate from a millisecond on, for so many.
    fn bits_per_s(&self, from_ms: u64, for_ms: u64) -> u64 {
        let bits = match self {
            Rates::Opportunities(times) => {
                let until = |ms| opportunities(times, ms);
                PACKET_BITS * (until(from_ms + for_ms) - until(from_ms))
            }
            Rates::Steps(steps) => {
                let rate = |ms: u64| {
                    let length = steps.last().map_or(1, |&(until, _)| until);
                    let ms = ms % length;
                    steps.get(steps.partition_point(|&(until, _)| until <= ms)).map_or(0, |s| s.1)
                };
                (from_ms..from_ms + for_ms).map(rate).sum::<u64>() / 1_000
            }
        };
        bits * 1_000 / for_ms
    }
}

/// How many packets may have left before this millisecond, with the trace beginning
/// again and again.
fn opportunities(times: &[u64], ms: u64) -> u64 {
    let Some(&length) = times.last() else { return 0 };
    let (rounds, rest) = (ms / length, ms % length);
    rounds * times.len() as u64 + times.partition_point(|&time| time < rest) as u64
}

fn rates(path: &Path) -> Result<Rates, TraceError> {
    let io = |source| TraceError::Io { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    let format = |reason| TraceError::Format { path: path.to_owned(), reason };
    if bytes > LARGEST_BYTES {
        return Err(format(format!("it has {bytes} bytes; {LARGEST_BYTES} at most are read")));
    }
    let text = std::fs::read(path).map_err(io)?;
    parse(&String::from_utf8_lossy(&text)).map_err(format)
}

/// Reads either format; the first line tells which.
fn parse(text: &str) -> Result<Rates, String> {
    let lines = || {
        let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    };
    let columns = lines().next().map_or(0, |(_, line)| line.split_whitespace().count());
    match columns {
        1 => milliseconds(lines()).map(Rates::Opportunities),
        2 => steps(lines()).map(Rates::Steps),
        _ => Err("its first line is neither a time in milliseconds nor a time in seconds and a \
                  throughput in Mbit/s"
            .into()),
    }
}

/// A length that is none or too long.
fn length(ms: u64) -> Result<(), String> {
    match ms {
        1..=LONGEST_MS => Ok(()),
        _ => Err(format!("it ends at {ms} ms; an end from 1 ms to a day is wanted")),
    }
}

fn milliseconds<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<u64>, String> {
    let mut times: Vec<u64> = Vec::new();
    for (number, line) in lines {
        let time = line.parse().ok().filter(|time| times.last().is_none_or(|last| last <= time));
        times.push(time.ok_or_else(|| {
            format!(
                "line {number} is {line:?}; a time in milliseconds, not before the last, is wanted"
            )
        })?);
    }
    length(times.last().copied().unwrap_or(0))?;
    Ok(times)
}

fn steps<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<(u64, u64)>, String> {
    let mut steps: Vec<(u64, u64)> = Vec::new();
    for (number, line) in lines {
        let mut columns = line.split_whitespace().map(|column| column.parse::<f64>().ok());
        let step = match (columns.next().flatten(), columns.next().flatten(), columns.next()) {
            (Some(seconds), Some(megabits), None)
                if (0.0..=1e5).contains(&seconds) && (0.0..=1e5).contains(&megabits) =>
            {
                Some(((1e3 * seconds).round() as u64, (1e6 * megabits) as u64))
            }
            _ => None,
        };
        let step = step.filter(|(until, _)| steps.last().is_none_or(|(last, _)| last <= until));
        steps.push(step.ok_or_else(|| {
            format!(
                "line {number} is {line:?}; a time in seconds, not before the last, and a throughput \
                 in Mbit/s are wanted"
            )
        })?);
    }
    length(steps.last().map_or(0, |&(until, _)| until))?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(text: &str, from_ms: u64) -> u64 {
        parse(text).unwrap().bits_per_s(from_ms, SLOT_MS)
    }

    #[test]
    fn a_packet_each_millisecond_is_12_mbit_per_s_and_a_trace_begins_again() {
        assert_eq!(rate_of("1", 0), 12_000_000);
        assert_eq!(rate_of("1\n", 12_300), 12_000_000);
        // Two packets in the first 100 ms, one at the end of the next 100, and again.
        let text = "10\n10\n200\n";
        let rates: Vec<u64> = (0..5).map(|slot| rate_of(text, slot * SLOT_MS)).collect();
        assert_eq!(rates, [240_000, 120_000, 240_000, 120_000, 240_000]);
        // In the mean, nothing is lost.
        let all: u64 = (0..40).map(|slot| rate_of(text, slot * SLOT_MS)).sum();
        assert_eq!(all, 20 * 3 * 120_000);
    }

    #[test]
    fn two_columns_are_seconds_and_megabits() {
        let text = "# recorded\n0.05 1\n0.1 3.0\n1 0\n";
        assert_eq!(rate_of(text, 0), 2_000_000);
        assert_eq!(rate_of(text, 100), 0);
        assert_eq!(rate_of(text, 1_000), 2_000_000);
    }

    #[test]
    fn what_is_no_trace_is_told_with_its_line() {
        for (text, wanted) in [
            ("", "first line"),
            ("a b c\n", "first line"),
            ("5\n3\n", "line 2"),
            ("5\nfive\n", "line 2"),
            ("0\n0\n", "ends at 0 ms"),
            ("99999999999\n", "ends at 99999999999 ms"),
            ("18446744073709551615\n", "ends at"),
            ("1 2\n3\n", "line 2"),
            ("1 -2\n", "line 1"),
            ("1 nan\n", "line 1"),
            ("0 5\n", "ends at 0 ms"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_pair_of_files_is_a_link_and_a_slot_without_a_packet_passes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (up, _) = (file("train.up", "150\n300\n"), file("train.down", "1\n"));
        let scenario = Trace::read(&up).unwrap().scenario(Duration::from_secs(1));
        assert_eq!(scenario.name, "trace train");
        assert!(scenario.at(Duration::ZERO).profile.is_none());
        let profile = scenario.at(Duration::from_millis(150)).profile.clone().unwrap();
        assert_eq!((profile.up_bits_per_s, profile.down_bits_per_s), (120_000, 12_000_000));
        assert_eq!(scenario.resumes(Duration::ZERO), Some(Duration::from_millis(100)));
        let alone = Trace::read(&file("alone.up", "1\n")).unwrap();
        assert_eq!(alone.up, alone.down);
        let missing = Trace::read(&directory.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }
}
