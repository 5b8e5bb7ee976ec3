//! What happened to the models between two looks at a device's status.

use leeway_control::desired::{GoalState, GoalStatus};
use leeway_control::messages::{ModelStatus, Status};
use leeway_control::report::DeviceEvent;

/// The events, in each model's own order.
pub(super) fn between(before: &Status, after: &Status) -> Vec<DeviceEvent> {
    let mut events = Vec::new();
    let goals = after.desired.iter().flat_map(|desired| &desired.models);
    for (name, goal) in goals {
        let old = before.desired.as_ref().and_then(|desired| desired.models.get(name));
        goal_events(name, old, goal, &mut events);
    }
    for (name, model) in &after.models {
        history(name, before.models.get(name), model, &mut events);
    }
    events
}

fn goal_events(
    name: &str,
    old: Option<&GoalStatus>,
    new: &GoalStatus,
    events: &mut Vec<DeviceEvent>,
) {
    let known = old.is_some_and(|old| (old.state, old.attempts) == (new.state, new.attempts));
    // That it is being tried is what steps say.
    if !known && new.state != GoalState::Working {
        let (state, reason) = (new.state, new.reason.clone());
        events.push(DeviceEvent::Goal { model: name.to_owned(), state, reason });
    }
}

/// The lines that were not there before. A history keeps its newest lines only.
fn history(
    name: &str,
    old: Option<&ModelStatus>,
    new: &ModelStatus,
    events: &mut Vec<DeviceEvent>,
) {
    let (old, new) = (old.map_or(&[][..], |old| &old.slots.history), &new.slots.history);
    // The longest end of the old lines that the new ones begin with.
    let known = (0..=old.len().min(new.len()))
        .rev()
        .find(|&length| old[old.len() - length..] == new[..length])
        .unwrap_or(0);
    events.extend(new[known..].iter().map(|entry| DeviceEvent::History {
        model: name.to_owned(),
        what: entry.event,
        digest: entry.digest,
        reason: entry.reason.clone(),
        at: entry.at,
    }));
}

#[cfg(test)]
mod tests {
    use leeway_contract::Digest;
    use leeway_control::Slots;
    use leeway_control::desired::DesiredStatus;
    use leeway_control::slots::{Event, HistoryEntry};
    use serde_json::json;

    use super::*;

    fn status(history: &[u64], goal: Option<(GoalState, u32)>) -> Status {
        let entry = |&at: &u64| HistoryEntry {
            at,
            event: Event::Activated,
            digest: Digest::of(b"m"),
            reason: "new".into(),
        };
        let slots = Slots { history: history.iter().map(entry).collect(), ..Slots::default() };
        let goal = goal.map(|(state, attempts)| GoalStatus {
            wanted: None,
            observed: None,
            state,
            reason: None,
            attempts,
            step: None,
            retry_in_ms: None,
        });
        let models = goal.map(|goal| [("m".to_owned(), goal)].into()).unwrap_or_default();
        let desired = DesiredStatus { generation: Some(1), models };
        let status = json!({
            "version": "", "models": { "m": { "slots": slots } }, "quota_bytes": 0,
            "desired": desired,
        });
        serde_json::from_value(status).unwrap()
    }

    fn times(before: &[u64], after: &[u64]) -> Vec<u64> {
        let events = between(&status(before, None), &status(after, None));
        let at = |event| match event {
            DeviceEvent::History { at, .. } => at,
            other => panic!("{other:?}"),
        };
        events.into_iter().map(at).collect()
    }

    #[test]
    fn new_lines_of_the_history_are_told_once_also_where_old_ones_went() {
        assert_eq!(times(&[], &[1, 2]), [1, 2]);
        assert_eq!(times(&[1, 2], &[1, 2]), Vec::<u64>::new());
        assert_eq!(times(&[1, 2], &[1, 2, 3]), [3]);
        assert_eq!(times(&[1, 2, 3], &[2, 3, 4, 5]), [4, 5]);
        assert_eq!(times(&[1, 2], &[7, 8]), [7, 8]);
        // The same once more within a second is another one.
        assert_eq!(times(&[1, 1], &[1, 1, 1]), [1]);
    }

    #[test]
    fn ends_of_attempts_are_told_and_that_one_works_is_not() {
        let events = |before, after| between(&status(&[], before), &status(&[], after));
        let working = Some((GoalState::Working, 1));
        assert!(events(None, working).is_empty());
        let waiting = |attempts| Some((GoalState::Waiting, attempts));
        let told = |state| DeviceEvent::Goal { model: "m".into(), state, reason: None };
        assert_eq!(events(working, waiting(1)), [told(GoalState::Waiting)]);
        assert!(events(waiting(1), waiting(1)).is_empty());
        assert_eq!(events(waiting(1), waiting(2)), [told(GoalState::Waiting)]);
        assert_eq!(events(working, Some((GoalState::Reached, 1))), [told(GoalState::Reached)]);
    }
}
