//! Sets of streams made by hand.

use std::time::Duration;

use crate::admission::{Executor, Offloading, Overload, Refusal, Scheduling, Stream, admit};

const MS: Duration = Duration::from_millis(1);

fn stream(name: &str, stages_ms: &[u32], period_ms: u32, deadline_ms: u32) -> Stream {
    Stream {
        name: name.into(),
        period: period_ms * MS,
        deadline: deadline_ms * MS,
        jitter: Duration::ZERO,
        priority: None,
        stages: stages_ms.iter().map(|&ms| ms * MS).collect(),
        core: None,
        overload: Overload::DropNewest,
        degrade_to: None,
        offload: None,
    }
}

fn executor(cores: usize, scheduling: Scheduling) -> Executor {
    Executor { cores, scheduling, dispatch: Duration::ZERO, tolerance: Duration::ZERO }
}

const BOTH: [Scheduling; 2] = [Scheduling::EarliestDeadlineFirst, Scheduling::FixedPriority];

#[test]
fn a_single_stream_takes_its_own_time() {
    for scheduling in BOTH {
        let admission = admit(&[stream("a", &[3, 4], 10, 9)], &executor(1, scheduling)).unwrap();
        let [a] = &admission.streams[..] else { panic!("one stream") };
        assert_eq!((a.response, a.slack, a.blocking), (7 * MS, 2 * MS, Duration::ZERO));
        assert_eq!(a.segments, [0..=1]);
    }
}

#[test]
fn a_model_is_cut_only_where_others_need_it() {
    let long = stream("long", &[10, 10, 10, 10], 100, 100);
    for scheduling in BOTH {
        let executor = executor(1, scheduling);
        let relaxed = admit(&[long.clone(), stream("short", &[2], 50, 50)], &executor).unwrap();
        assert_eq!(relaxed.streams[0].segments, [0..=3]);
        let urgent = admit(&[long.clone(), stream("short", &[2], 50, 23)], &executor).unwrap();
        assert_eq!(urgent.streams[0].segments, [0..=1, 2..=3]);
        assert_eq!(urgent.streams[1].blocked_by.as_deref(), Some("long"));
        let refused = admit(&[long.clone(), stream("short", &[2], 50, 11)], &executor);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("\"short\""), "{message}");
    }
}

#[test]
fn a_refusal_says_which_interval_and_whose_demand() {
    let set = [stream("a", &[5], 20, 10), stream("b", &[6], 20, 10)];
    let refused = admit(&set, &executor(1, Scheduling::EarliestDeadlineFirst)).unwrap_err();
    let Refusal::Demand(over) = &refused else { panic!("{refused:?}") };
    assert_eq!((over.interval, over.demand), (10 * MS, 11 * MS));
    let shares: Vec<_> = over.shares.iter().map(|s| (s.stream.as_str(), s.work)).collect();
    assert_eq!(shares, [("a", 5 * MS), ("b", 6 * MS)]);
    assert_eq!(
        refused.to_string(),
        "stream \"b\" may miss its deadline on core 0: within an interval of 10ms, work of 11ms \
         must be done: \"a\" 5ms, \"b\" 6ms"
    );
}

#[test]
fn a_core_is_not_promised_more_than_all_its_time() {
    let set = [stream("a", &[6], 10, 10), stream("b", &[50], 100, 100)];
    for scheduling in BOTH {
        let refused = admit(&set, &executor(1, scheduling)).unwrap_err();
        let Refusal::Overloaded { utilisation, .. } = refused else { panic!("{refused:?}") };
        assert!((utilisation - 1.1).abs() < 1e-9);
        let two = admit(&set, &executor(2, scheduling)).unwrap();
        assert_ne!(two.streams[0].core, two.streams[1].core);
    }
}

#[test]
fn a_stream_keeps_the_core_that_it_names() {
    let mut set = [stream("a", &[6], 10, 10), stream("b", &[1], 100, 100)];
    set[1].core = Some(1);
    let two = executor(2, Scheduling::EarliestDeadlineFirst);
    assert_eq!(admit(&set, &two).unwrap().streams[1].core, 1);
    set[1].core = Some(2);
    let message = admit(&set, &two).unwrap_err().to_string();
    assert!(message.contains("\"b\"") && message.contains("core is 2"), "{message}");
}

#[test]
fn given_priorities_are_kept_even_if_others_would_be_better() {
    let mut set = [stream("slow", &[2, 3], 100, 100), stream("fast", &[1], 10, 5)];
    (set[0].priority, set[1].priority) = (Some(9), Some(1));
    let fixed = executor(1, Scheduling::FixedPriority);
    let refused = admit(&set, &fixed).unwrap_err();
    let Refusal::Response(late) = &refused else { panic!("{refused:?}") };
    assert_eq!((late.stream.as_str(), late.response), ("fast", 6 * MS));
    assert_eq!(late.more_urgent[..], ["slow"]);
    (set[0].priority, set[1].priority) = (None, None);
    let admission = admit(&set, &fixed).unwrap();
    let [slow, fast] = &admission.streams[..] else { panic!("two streams") };
    assert!(fast.rank < slow.rank && slow.segments == [0..=0, 1..=1]);
    set[0].priority = Some(1);
    let message = admit(&set, &fixed).unwrap_err().to_string();
    assert!(message.contains("\"fast\"") && message.contains("no priority"), "{message}");
}

#[test]
fn an_offloaded_input_is_waited_for_as_long_as_all_deadlines_allow() {
    let offload = Some(Offloading { setup: MS });
    let alone = Stream { offload, ..stream("a", &[10], 100, 50) };
    for scheduling in BOTH {
        let executor = executor(1, scheduling);
        let one = admit(std::slice::from_ref(&alone), &executor).unwrap();
        let arm = one.streams[0].arm_after.unwrap();
        // Until the time that its own execution takes, and that of sending the next
        // input, as far as the search is fine.
        assert!(arm <= 40 * MS && arm >= 38 * MS, "{arm:?}");
        let beside = [alone.clone(), stream("b", &[20], 100, 60)];
        let two = admit(&beside, &executor).unwrap();
        assert!(two.streams[0].arm_after.unwrap() < arm);
        assert!(two.streams[0].response <= 50 * MS);
    }
}

#[test]
fn nothing_can_be_waited_for_where_there_is_no_slack() {
    let offload = Some(Offloading { setup: Duration::ZERO });
    let set = [Stream { offload, ..stream("a", &[10], 21, 20) }, stream("b", &[10], 21, 20)];
    let edf = executor(1, Scheduling::EarliestDeadlineFirst);
    let admission = admit(&set, &edf).unwrap();
    assert_eq!(admission.streams[0].arm_after, Some(Duration::ZERO));
}

#[test]
fn what_cannot_be_analysed_is_named() {
    let edf = executor(1, Scheduling::EarliestDeadlineFirst);
    let cases = [
        (stream("a", &[1], 0, 5), "period is 0"),
        (stream("a", &[], 10, 5), "no worst-case execution time"),
        (stream("a", &[6], 10, 5), "takes 6ms and its deadline is 5ms"),
        (Stream { jitter: 11 * MS, ..stream("a", &[1], 10, 20) }, "could overtake each other"),
        (Stream { jitter: 2 * MS, ..stream("a", &[4], 10, 5) }, "after a jitter of 2ms"),
    ];
    for (stream, wanted) in cases {
        let message = admit(&[stream], &edf).unwrap_err().to_string();
        assert!(message.contains("\"a\"") && message.contains(wanted), "{message}");
    }
    let twice = [stream("a", &[1], 10, 5), stream("a", &[1], 10, 5)];
    let message = admit(&twice, &edf).unwrap_err().to_string();
    assert!(message.contains("another stream of that name"), "{message}");
}

#[test]
fn a_stream_degrades_to_a_smaller_admitted_one() {
    let edf = executor(1, Scheduling::EarliestDeadlineFirst);
    let degrading = |to: Option<&str>| Stream {
        overload: Overload::Degrade,
        degrade_to: to.map(str::to_owned),
        ..stream("large", &[10], 50, 50)
    };
    let small = stream("small", &[2], 50, 20);
    let set = [degrading(Some("small")), small.clone()];
    assert_eq!(admit(&set, &edf).unwrap().streams.len(), 2);
    let cases = [
        ([degrading(None), small.clone()], "does not say to which"),
        ([degrading(Some("tiny")), small.clone()], "\"tiny\", which is not among"),
        ([degrading(Some("large")), small.clone()], "degrades itself"),
        ([degrading(Some("small")), stream("small", &[11], 50, 20)], "takes 11ms"),
    ];
    for (set, wanted) in cases {
        let message = admit(&set, &edf).unwrap_err().to_string();
        assert!(message.contains("\"large\"") && message.contains(wanted), "{message}");
    }
}

#[test]
fn no_streams_are_admitted_at_once() {
    assert_eq!(admit(&[], &Executor::default()).unwrap().streams, []);
}
