//! The audit log: who pushed what, changed what a name stands for, removed
//! something or was refused. One JSON object on each line of `audit.jsonl` in the
//! store, appended and never rewritten.
//!
//! What changed something is on the disk before the client hears of it. Refusals
//! are not waited for, and of more than a few in a second only their number is
//! kept: whoever is refused cannot fill the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::access::Client;

/// The refusals in a second that are kept one by one.
const REFUSALS: u64 = 20;

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    time_ms: u64,
    client: &'a str,
    action: &'a str,
    object: &'a str,
    outcome: &'a str,
    /// The refusals before this line that were left out.
    #[serde(skip_serializing_if = "is_zero")]
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
}

/// The open log.
pub(crate) struct Audit {
    log: Mutex<Log>,
}

impl Audit {
    /// Opens the log in the store's directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("audit.jsonl");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let log = Log { file, second: 0, refusals: 0, left_out: 0 };
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
        let line = Line { time_ms, client, action, object, outcome, left_out };
        let mut line = serde_json::to_vec(&line).expect("a line has only string keys");
        line.push(b'\n');
        let written = log.file.write_all(&line);
        let written = written.and_then(|()| if done { log.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
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
    }
}
