//! What can be promised when execution times are longer than they were admitted with:
//! to all streams if that is possible, and otherwise to those that are left when some
//! go to their smaller models, in a declared order.
//!
//! Which streams are set aside is a mode of the device, as in mixed-criticality
//! scheduling (S. Vestal, "Preemptive Scheduling of Multi-Criticality Systems with
//! Varying Degrees of Execution Time Assurance", RTSS 2007, DOI 10.1109/RTSS.2007.47):
//! when a run exceeds what was assured, the less important streams make room.

use std::cmp::Reverse;

use serde::Serialize;

use super::{Admitted, Executor, Refusal, Stream, admit};

/// What is promised, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The streams that keep their own model, by their place among all, with what is
    /// promised to them.
    pub admitted: Vec<(usize, Stream, Admitted)>,
    /// For each stream, whether nothing is promised to its own model: its inputs go to
    /// its smaller one, where it has one.
    pub set_aside: Vec<bool>,
    /// Of those, the ones without a smaller model, by their place.
    pub given_up: Vec<usize>,
    /// Why not all of them: the last refusal on the way.
    pub refusal: Option<Refusal>,
}

/// A plan, as it is told: names instead of places.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// What is promised to the streams that keep their own model.
    pub admitted: Vec<Admitted>,
    /// The streams whose inputs go to their smaller models, or are not taken where there
    /// is none.
    pub set_aside: Vec<String>,
    /// Of those, the ones without a smaller model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<String>,
    /// Why not all of them keep their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl Plan {
    /// Whether all deadlines are kept, by own models or smaller ones.
    pub fn holds(&self) -> bool {
        self.given_up.is_empty()
    }

    /// As it is told.
    pub fn standing(&self, streams: &[Stream]) -> Standing {
        let names = streams.iter().zip(&self.set_aside).filter(|(_, set_aside)| **set_aside);
        Standing {
            admitted: self.admitted.iter().map(|(_, _, admitted)| admitted.clone()).collect(),
            set_aside: names.map(|(stream, _)| stream.name.clone()).collect(),
            given_up: self.given_up.iter().map(|&stream| streams[stream].name.clone()).collect(),
            refusal: self.refusal.clone(),
        }
    }
}

/// Plans for these streams. The first `at_least` streams of `order` that have a smaller
/// model are set aside in any case, and then one more at a time until all deadlines are
/// kept; after those of the order, other streams that have a smaller model, the last one
/// first. Where all of these are not enough, nothing is promised to one stream after the
/// other that has none: to those that cannot be kept even alone, and then to the one with
/// the least priority first, and of several, the last one; to those that others degrade to
/// after all others.
pub fn plan(streams: &[Stream], executor: &Executor, order: &[String], at_least: usize) -> Plan {
    let placed = |name: &String| streams.iter().position(|stream| stream.name == *name);
    let declared: Vec<usize> = order.iter().filter_map(placed).collect();
    let others = (0..streams.len()).rev().filter(|stream| !declared.contains(stream));
    let candidates: Vec<usize> = declared.iter().copied().chain(others).collect();
    let mut set_aside = vec![false; streams.len()];
    let mut to_set_aside =
        candidates.iter().copied().filter(|&stream| streams[stream].degrade_to.is_some());
    let wanted = order.iter().take(at_least).filter_map(placed);
    for _ in wanted.filter(|&stream| streams[stream].degrade_to.is_some()) {
        if let Some(stream) = to_set_aside.next() {
            set_aside[stream] = true;
        }
    }
    let (mut given_up, mut refusal) = (Vec::new(), None);
    loop {
        let left: Vec<usize> = (0..streams.len()).filter(|&stream| !set_aside[stream]).collect();
        let active: Vec<Stream> =
            left.iter().map(|&stream| streams[stream].without_smaller()).collect();
        match admit(&active, executor) {
            Ok(admission) => {
                let kept = left.into_iter().zip(active).zip(admission.streams);
                let admitted = kept.map(|((place, stream), admitted)| (place, stream, admitted));
                return Plan { admitted: admitted.collect(), set_aside, given_up, refusal };
            }
            Err(reason) => refusal = Some(reason),
        }
        let next = to_set_aside.next().or_else(|| {
            let hopeless = |stream: &Stream| admit(&[stream.without_smaller()], executor).is_err();
            let least = left
                .iter()
                .copied()
                .min_by_key(|&stream| (!hopeless(&streams[stream]), worth(streams, stream)))?;
            given_up.push(least);
            Some(least)
        });
        match next {
            Some(stream) => set_aside[stream] = true,
            // No executor refuses to serve nobody.
            None => return Plan { admitted: Vec::new(), set_aside, given_up, refusal },
        }
    }
}

/// What a stream is worth keeping: the least is given up first.
fn worth(streams: &[Stream], stream: usize) -> (bool, Option<u8>, Reverse<usize>) {
    let own = &streams[stream];
    let needed = streams.iter().any(|other| other.degrade_to.as_ref() == Some(&own.name));
    (needed, own.priority, Reverse(stream))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::Overload;

    const MS: Duration = Duration::from_millis(1);

    /// Two large streams, each with a small one.
    fn streams(large: Duration) -> Vec<Stream> {
        let stream = |name: &str, stage: Duration, to: Option<&str>| Stream {
            name: name.into(),
            period: 100 * MS,
            deadline: 90 * MS,
            jitter: Duration::ZERO,
            priority: None,
            stages: vec![stage],
            core: Some(0),
            overload: Overload::DropNewest,
            degrade_to: to.map(Into::into),
            offload: None,
        };
        vec![
            stream("door", large, Some("door small")),
            stream("camera", large, Some("camera small")),
            stream("door small", 5 * MS, None),
            stream("camera small", 5 * MS, None),
        ]
    }

    fn planned(large: Duration, order: &[&str], at_least: usize) -> (Vec<bool>, bool, bool) {
        let order: Vec<String> = order.iter().map(ToString::to_string).collect();
        let plan = plan(&streams(large), &Executor::default(), &order, at_least);
        (plan.set_aside.clone(), plan.holds(), plan.refusal.is_some())
    }

    #[test]
    fn streams_make_room_in_the_declared_order_and_no_more_than_needed() {
        let none = vec![false; 4];
        assert_eq!(planned(30 * MS, &["camera"], 0), (none, true, false));
        let camera = vec![false, true, false, false];
        assert_eq!(planned(50 * MS, &["camera", "door"], 0), (camera.clone(), true, true));
        let door = vec![true, false, false, false];
        assert_eq!(planned(50 * MS, &["door"], 0), (door, true, true));
        // Without an order, the last one that can.
        assert_eq!(planned(50 * MS, &[], 0), (camera.clone(), true, true));
        // Heat wants one aside though all would fit.
        assert_eq!(planned(30 * MS, &["camera", "door"], 1), (camera, true, false));
        let both = vec![true, true, false, false];
        assert_eq!(planned(85 * MS, &["camera"], 0), (both.clone(), true, true));
        assert_eq!(planned(30 * MS, &["camera", "door"], 9), (both, true, false));
        // Names of no stream, and of one without a smaller model, count for nothing.
        let strange = ["window", "door small"];
        assert_eq!(planned(30 * MS, &strange, 2), (vec![false; 4], true, false));
    }

    #[test]
    fn what_has_no_smaller_model_makes_room_last_and_by_its_priority() {
        let mut set = streams(30 * MS);
        set[2].stages = vec![95 * MS];
        let few = plan(&set, &Executor::default(), &[], 0);
        // The one that takes too long, after all that could degrade.
        assert_eq!(few.set_aside, [true, true, true, false]);
        assert!(
            !few.holds()
                && few.given_up == [2]
                && few.refusal.unwrap().to_string().contains("door small")
        );
        let alone = |priority| Stream { degrade_to: None, priority, ..set[0].clone() };
        let named = |name: &str, priority| Stream { name: name.into(), ..alone(priority) };
        let set =
            [named("a", Some(1)), named("b", Some(3)), named("c", Some(1)), named("d", Some(2))];
        let set_aside = |streams: &[Stream]| plan(streams, &Executor::default(), &[], 0).set_aside;
        assert_eq!(set_aside(&set), [true, false, true, false]);
        let set = set.map(|stream| Stream { priority: None, ..stream });
        assert_eq!(set_aside(&set), [false, false, true, true]);
        assert_eq!(set_aside(&[Stream { stages: vec![95 * MS], ..set[0].clone() }]), [true]);
    }
}
