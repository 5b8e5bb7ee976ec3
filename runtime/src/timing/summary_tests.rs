//! Summaries of made-up runs.

use super::*;

const OPTIONS: TailOptions = TailOptions { replicas: 100, seed: 1 };

fn of(samples: &[RunSample], fuel: u64) -> Timing {
    Timing::of(samples, Fuel(fuel), &OPTIONS).unwrap()
}

#[test]
fn disturbed_runs_and_hidden_hiccups_do_not_raise_the_worst_input() {
    let mut samples = Vec::new();
    for repetition in 0..5 {
        samples.push(sample(0, 1_000 + repetition));
        samples.push(sample(1, 1_100 + repetition));
    }
    samples[2].ns = 900_000; // the hypervisor, which tells nobody
    samples[5] = RunSample { causes: vec![Cause::Preempted], ..sample(1, 5_000_000) };
    let timing = of(&samples, 10);
    let ns = Duration::from_nanos;
    assert!((ns(1_100)..=ns(1_104)).contains(&timing.worst_input), "{:?}", timing.worst_input);
    assert_eq!(timing.highest_undisturbed, ns(900_000));
    assert_eq!(timing.highest_observed, ns(5_000_000));
    assert_eq!((timing.disturbed.runs, timing.disturbed.by(Cause::Preempted)), (1, 1));
    assert_eq!((timing.runs, timing.tail.runs), (10, 9));
}

#[test]
fn where_every_run_was_disturbed_they_are_all_there_is() {
    let run = |ns| RunSample { causes: vec![Cause::OffCpu], ..sample(0, ns) };
    let timing = of(&[run(1_000), run(3_000), run(2_000)], 0);
    assert_eq!(timing.worst_input, Duration::from_nanos(2_000));
    assert_eq!((timing.disturbed.runs, timing.tail.runs), (3, 3));
    assert_eq!(timing.ns_per_fuel, None);
    assert!(Timing::of(&[], Fuel(1), &OPTIONS).is_none());
}

#[test]
fn the_time_per_fuel_has_an_interval_around_the_median() {
    let samples: Vec<RunSample> = (0..500).map(|i| sample(0, 1_000 + i % 100)).collect();
    let span = of(&samples, 100).ns_per_fuel.unwrap();
    assert!((span.estimate - 10.5).abs() < 0.02, "{span:?}");
    assert!(10.3 < span.lower && span.lower < span.estimate, "{span:?}");
    assert!(span.estimate < span.upper && span.upper < 10.7, "{span:?}");
}

#[test]
fn without_a_tail_the_bound_is_the_longest_run_and_the_margin() {
    let mut samples = vec![sample(0, 1_000); 50];
    samples.push(RunSample { causes: vec![Cause::Migrated], ..sample(0, 1_999) });
    let bound = of(&samples, 1).bound(&BoundRule { exceedance: 1e-6, margin: 0.5 });
    assert_eq!(bound.time, Duration::from_nanos(2_999));
    assert_eq!(bound.basis, Basis::Observed { margin: 0.5 });
}

#[test]
fn with_a_tail_the_bound_is_its_upper_end_and_never_below_what_was_seen() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut samples: Vec<RunSample> = (0..1500)
        .map(|i| sample(i % 10, 1_000_000 + (-20_000.0 * rng.random::<f64>().ln()) as u64))
        .collect();
    let timing = of(&samples, 1);
    let rule = BoundRule { exceedance: 1e-6, ..BoundRule::default() };
    let bound = timing.bound(&rule);
    assert_eq!(bound.basis, Basis::Probabilistic { exceedance: 1e-6 });
    assert!(bound.time > timing.highest_observed);
    // Between two powers of ten, the smaller one.
    let between = timing.bound(&BoundRule { exceedance: 3e-6, ..rule });
    assert_eq!(between, bound);

    samples.push(RunSample { causes: vec![Cause::Preempted], ..sample(0, 9_000_000) });
    assert_eq!(of(&samples, 1).bound(&rule).time, Duration::from_nanos(9_000_000));
}
