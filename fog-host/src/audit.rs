//! The audit log: who pushed what, changed what a name stands for, removed
//! something or was refused. One JSON object on each line of `audit.jsonl` in the
//! store, appended and never rewritten.
//!
//! What changed something is on the disk before the client hears of it. Refusals
//! are not waited for, and of more than a few in a second only their number is
//! kept: whoever is refused cannot fill the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::access::Client;

/// The refusals in a second that are kept one by one.
const REFUSALS: u64 = 20;
/// The last lines that are kept in memory, to be shown.
const RECENT: usize = 100;
/// How much of the log is read when it is opened, to have those.
const RECENT_BYTES: u64 = 64 << 10;

/// A line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Milliseconds since 1970.
    time_ms: u64,
    client: String,
    action: String,
    object: String,
    outcome: String,
    /// The refusals before this line that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    left_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

struct Log {
    file: File,
    second: u64,
    refusals: u64,
    left_out: u64,
    recent: VecDeque<Event>,
}

/// The open log.
pub(crate) struct Audit {
    log: Mutex<Log>,
}

impl Audit {
    /// Opens the log in the store's directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("audit.jsonl");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).read(true).append(true).mode(0o600).open(path)?;
        let recent = recent(&mut file)?;
        let log = Log { file, second: 0, refusals: 0, left_out: 0, recent };
        Ok(Self { log: Mutex::new(log) })
    }

    /// A client did something to an object.
    pub(crate) fn did(&self, client: &Client, action: &str, object: &str) {
        self.write(&client.name, action, object, "done");
    }

    /// A client, or somebody unknown at an address, was refused.
    pub(crate) fn refused(&self, client: &str, action: &str, object: &str, why: &str) {
        self.write(client, action, object, why);
    }

    /// The last lines, the oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.recent.iter().cloned().collect()
    }

    fn write(&self, client: &str, action: &str, object: &str, outcome: &str) {
        tracing::info!(target: "leeway_fog_host::audit", client, action, object, outcome);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let done = outcome == "done";
        // Nothing panics while it holds the lock.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.second != now.as_secs() {
            (log.second, log.refusals) = (now.as_secs(), 0);
        }
        if !done {
            log.refusals += 1;
            if log.refusals > REFUSALS {
                log.left_out += 1;
                return;
            }
        }
        let time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let left_out = std::mem::take(&mut log.left_out);
        let [client, action, object, outcome] =
            [client, action, object, outcome].map(str::to_owned);
        let event = Event { time_ms, client, action, object, outcome, left_out };
        let mut line = serde_json::to_vec(&event).expect("a line has only string keys");
        line.push(b'\n');
        log.recent.push_back(event);
        if log.recent.len() > RECENT {
            log.recent.pop_front();
        }
        let written = log.file.write_all(&line);
        let written = written.and_then(|()| if done { log.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

/// The last lines of a log. A line that was cut off, by a power cut or by where
/// reading begins, is none.
fn recent(file: &mut File) -> io::Result<VecDeque<Event>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(RECENT_BYTES)))?;
    let mut tail = Vec::new();
    file.take(RECENT_BYTES).read_to_end(&mut tail)?;
    let lines = tail.split(|byte| *byte == b'\n');
    let mut events: VecDeque<Event> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    events.drain(..events.len().saturating_sub(RECENT));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_without_number_are_counted_and_changes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        for _ in 0..10 * REFUSALS {
            audit.refused("192.0.2.1", "push", "sha256:00", "unauthenticated");
        }
        audit.write("a", "push", "sha256:\"\n", "done");
        let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // The second may have changed once in between.
        assert!(lines.len() as u64 <= 2 * REFUSALS + 1, "{}", lines.len());
        let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
        assert_eq!(left_out + lines.len() as u64, 10 * REFUSALS + 1);
        assert_eq!(lines.last().unwrap()["object"], "sha256:\"\n");
        assert_eq!(audit.recent().len(), lines.len());
    }

    #[test]
    fn the_last_lines_are_known_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        for number in 0..2 * RECENT {
            audit.write("a", "push", &number.to_string(), "done");
        }
        drop(audit);
        let path = directory.path().join("audit.jsonl");
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"time_ms\":12").unwrap();
        let recent = Audit::open(directory.path()).unwrap().recent();
        let objects: Vec<String> = recent.into_iter().map(|event| event.object).collect();
        let wanted: Vec<String> = (RECENT..2 * RECENT).map(|number| number.to_string()).collect();
        assert_eq!(objects, wanted);
    }
}
