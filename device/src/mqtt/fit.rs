//! What is said where the broker takes no packet that would have all of it
//! (MQTT 5, 3.2.2.3.6): the most of it that fits, and that it is not all.

use leeway_control::messages::Status;
use leeway_control::report::DesiredReply;
use leeway_control::streams::Conditions;
use serde::Serialize;

/// The lines of each model's history that are left, one number after the other.
const LINES: [usize; 4] = [16, 8, 2, 0];
/// What is there before and after the text of an error that was cut.
const CUT: &str = " ...";

/// A status in so many bytes at most: without the older lines of the histories, then
/// without streams and conditions, then without models. `None` where nothing of it fits.
pub(super) fn status(status: &Status, room: usize) -> Option<Vec<u8>> {
    let whole = json(status);
    if whole.len() <= room {
        return Some(whole);
    }
    let mut cut = Status { cut: true, ..status.clone() };
    for lines in LINES {
        for model in cut.models.values_mut() {
            let history = &mut model.slots.history;
            let over = history.len().saturating_sub(lines);
            history.drain(..over);
        }
        let text = json(&cut);
        if text.len() <= room {
            return Some(text);
        }
    }
    (cut.streams, cut.conditions) = (Default::default(), Conditions::default());
    let without_streams = json(&cut);
    if without_streams.len() <= room {
        return Some(without_streams);
    }
    (cut.models, cut.desired) = (Default::default(), None);
    Some(json(&cut)).filter(|text| text.len() <= room)
}

/// An answer in so many bytes at most: the beginning of what is wrong.
pub(super) fn reply(reply: &DesiredReply, room: usize) -> Option<Vec<u8>> {
    let mut text = json(reply);
    let mut cut = reply.clone();
    while text.len() > room {
        let error = cut.error.as_mut()?;
        let kept = error.strip_suffix(CUT).unwrap_or(error).len() / 2;
        if kept == 0 {
            return None;
        }
        error.truncate(error.floor_char_boundary(kept));
        error.push_str(CUT);
        text = json(&cut);
    }
    Some(text)
}

pub(super) fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("a message has only string keys")
}

#[cfg(test)]
mod tests {
    use leeway_contract::Digest;
    use leeway_control::Slots;
    use leeway_control::messages::ModelStatus;
    use leeway_control::slots::{Event, HistoryEntry};
    use leeway_control::streams::StreamStatus;

    use super::*;

    fn full() -> Status {
        let entry = |at| HistoryEntry {
            at,
            event: Event::Refused,
            digest: Digest::of(b"m"),
            reason: "golden: vector 0 differs".into(),
        };
        let slots = Slots { history: (0..32).map(entry).collect(), ..Slots::default() };
        let model =
            ModelStatus { slots, serving: None, broken: None, probation: None, calibration: None };
        Status {
            version: "1".into(),
            models: [("digits".into(), model)].into(),
            read_only: Some("no room".into()),
            store_bytes: Some(1),
            quota_bytes: 2,
            streams: [("camera".into(), StreamStatus::default())].into(),
            conditions: Conditions::default(),
            desired: None,
            cut: false,
        }
    }

    fn read(text: &[u8]) -> Status {
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn a_status_loses_what_matters_least_first_and_says_so() {
        let whole = json(&full());
        assert_eq!(status(&full(), whole.len()).unwrap(), whole);
        assert!(!read(&whole).cut);
        let mut lines = 32;
        let (mut seen_without_streams, mut seen_without_models) = (false, false);
        // Less and less room.
        for room in (0..whole.len()).rev() {
            let Some(text) = status(&full(), room) else {
                assert!(seen_without_models && room < 200, "{room}");
                return;
            };
            assert!(text.len() <= room);
            let told = read(&text);
            assert!(told.cut && told.read_only.is_some());
            if let Some(model) = told.models.get("digits") {
                let history = &model.slots.history;
                assert!(
                    history.len() <= lines
                        && history.iter().rev().zip((0..32).rev()).all(|(e, at)| e.at == at)
                );
                lines = history.len();
                seen_without_streams |= told.streams.is_empty();
            } else {
                assert!(seen_without_streams);
                seen_without_models = true;
            }
        }
        panic!("a status in no bytes");
    }

    #[test]
    fn of_an_answer_the_beginning_of_the_error_is_left() {
        let error = Some(format!("line 3: {}", "ä".repeat(400)));
        let wrong = DesiredReply { taken: false, generation: None, error };
        for room in [900, 400, 100, 60] {
            let text = reply(&wrong, room).unwrap();
            assert!(text.len() <= room);
            let told: DesiredReply = serde_json::from_slice(&text).unwrap();
            let error = told.error.unwrap();
            assert!(
                error.starts_with("line 3") && (room == 900 || error.ends_with(CUT)),
                "{error}"
            );
        }
        assert_eq!(reply(&wrong, 20), None);
        let taken = DesiredReply { taken: true, generation: Some(7), error: None };
        assert_eq!(reply(&taken, 10), None);
    }
}
