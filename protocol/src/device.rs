//! What a device says of itself to its fog host: where its inputs were answered
//! since it last said so, and what it believes of the link. Ours; sent to
//! `POST /v1/devices/{name}/report`.
//!
//! It is small on purpose: about 400 bytes for one model.

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::whole;

/// The most models in one report.
pub const MOST_MODELS: usize = 32;
/// The largest report, in bytes of JSON.
pub const LARGEST_REPORT_BYTES: usize = 32 << 10;
/// The longest name of a model or a policy in a report, in characters.
const LONGEST_NAME: usize = 128;

/// What happened on a device since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// By model.
    pub models: Vec<ModelReport>,
}

/// What happened to one model's inputs since the last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model, by the device's name for it.
    pub name: String,
    /// The module.
    pub digest: Digest,
    /// The policy that decides.
    pub policy: String,
    /// Where the inputs were answered.
    #[serde(flatten)]
    pub decisions: Decisions,
    /// The worst case on the device that the last decision was made by, in
    /// nanoseconds.
    #[serde(deserialize_with = "whole::number")]
    pub wcet_ns: u64,
    /// T_L, as it was believed last.
    #[serde(default, deserialize_with = "whole::optional")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_ns: Option<u64>,
    /// T_F, as it was believed last.
    #[serde(default, deserialize_with = "whole::optional")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fog_ns: Option<u64>,
    /// The longest time from an input's release to its answer.
    #[serde(default, deserialize_with = "whole::number")]
    pub latency_ns: u64,
    /// The deadline, from the release.
    #[serde(default, deserialize_with = "whole::optional")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<u64>,
}

/// How many inputs were answered where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decisions {
    /// On the device, as decided.
    #[serde(deserialize_with = "whole::number")]
    pub local: u64,
    /// By the fog host, as decided.
    #[serde(deserialize_with = "whole::number")]
    pub fog: u64,
    /// On the device, after the fog host had failed.
    #[serde(deserialize_with = "whole::number")]
    pub fallback: u64,
    /// On the device, which was faster in the end.
    #[serde(deserialize_with = "whole::number")]
    pub compensated: u64,
    /// Of all these, after the deadline.
    #[serde(deserialize_with = "whole::number")]
    pub missed: u64,
}

impl Decisions {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.local, other.local);
        sum(&mut self.fog, other.fog);
        sum(&mut self.fallback, other.fallback);
        sum(&mut self.compensated, other.compensated);
        sum(&mut self.missed, other.missed);
    }

    /// All inputs that were answered.
    pub fn total(&self) -> u64 {
        [self.local, self.fog, self.fallback, self.compensated]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl DeviceReport {
    /// Reads a report, as a server does.
    ///
    /// # Errors
    /// Where it is no report, or larger than one may be.
    pub fn decode(json: &[u8]) -> Result<Self, super::ProtocolError> {
        let report: Self = serde_json::from_slice(json)
            .map_err(|error| super::wrong(format!("not a device's report: {error}")))?;
        let seen = report.models.len();
        if seen > MOST_MODELS {
            return Err(super::wrong(format!("{seen} models, wanted {MOST_MODELS} at most")));
        }
        let names = report.models.iter().flat_map(|model| [&model.name, &model.policy]);
        let longest = names.map(|name| name.chars().count()).max();
        if let Some(seen) = longest.filter(|longest| *longest > LONGEST_NAME) {
            let message = format!("a name of {seen} characters, wanted {LONGEST_NAME} at most");
            return Err(super::wrong(message));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(models: usize) -> DeviceReport {
        let model = ModelReport {
            name: "digits".into(),
            digest: Digest::of(b"x"),
            policy: "threshold".into(),
            decisions: Decisions { local: 1, fog: 2, fallback: 3, compensated: 4, missed: 5 },
            wcet_ns: 12_000_000,
            transfer_ns: Some(3_000_000),
            fog_ns: None,
            latency_ns: 14_000_000,
            deadline_ns: Some(50_000_000),
        };
        DeviceReport { models: vec![model; models] }
    }

    #[test]
    fn a_report_comes_back_as_it_was_and_is_small() {
        let json = serde_json::to_vec(&report(1)).unwrap();
        assert!(json.len() < 400, "{}", json.len());
        assert_eq!(DeviceReport::decode(&json).unwrap(), report(1));
        assert_eq!(report(1).models[0].decisions.total(), 10);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let mut json = serde_json::to_value(report(1)).unwrap();
        let model = &mut json["models"][0];
        (model["local"], model["wcet_ns"]) = (1.0.into(), 12e6.into());
        (model["transfer_ns"], model["fog_ns"]) = (3e6.into(), serde_json::Value::Null);
        let read = DeviceReport::decode(json.to_string().as_bytes()).unwrap();
        assert_eq!(read, report(1));
        for wrong in [serde_json::Value::Null, (-1).into(), 0.5.into(), 2e19.into(), "1".into()] {
            json["models"][0]["local"] = wrong.clone();
            let read = DeviceReport::decode(json.to_string().as_bytes());
            assert!(read.is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_too_much_or_no_report_is_refused() {
        let many = serde_json::to_vec(&report(MOST_MODELS + 1)).unwrap();
        assert!(many.len() < LARGEST_REPORT_BYTES);
        assert!(DeviceReport::decode(&many).unwrap_err().to_string().contains("33 models"));
        let mut long = report(1);
        long.models[0].policy = "ø".repeat(LONGEST_NAME + 1);
        let long = serde_json::to_vec(&long).unwrap();
        assert!(DeviceReport::decode(&long).unwrap_err().to_string().contains("129 characters"));
        for json in [&b""[..], b"[]", b"{}", b"{\"models\":[{}]}"] {
            assert!(DeviceReport::decode(json).is_err());
        }
    }
}
