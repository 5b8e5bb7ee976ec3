//! The machine through bad luck of every kind, in simulated time: what was admitted
//! misses no deadline, whatever the fog host, the network and other streams do.
//!
//! A failure prints its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::admission::{Admission, Executor, Offloading, admit};
use crate::nanos;

const END: u64 = 8_000;

/// What the fog host makes of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// A valid answer, after this time.
    Answer(u64),
    /// None, and the device is told so after this time: it was refused, or what came
    /// was no answer to this request.
    Failure(u64),
    /// None ever.
    Silence,
}

/// Something that happens outside of the core.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An input of a stream becomes ready; it belongs to an arrival.
    Input { stream: usize, arrival: u64 },
    /// The fog host answers a job.
    Answer { stream: usize, job: JobId },
    /// The device knows that it will not.
    Failure { stream: usize, job: JobId },
}

/// The world around a machine.
struct World<'a> {
    /// What the fog host makes of a request sent at this time.
    fog: &'a dyn Fn(u64, &mut ChaCha8Rng) -> Fate,
    /// How long a segment of a stream takes that is certified for this.
    run: &'a dyn Fn(usize, u64, &mut ChaCha8Rng) -> u64,
    /// The time between two inputs of a stream with this period.
    gap: &'a dyn Fn(usize, u64, &mut ChaCha8Rng) -> u64,
}

fn simulate(
    set: &[Stream],
    admission: &Admission,
    executor: &Executor,
    world: &World,
    rng: &mut ChaCha8Rng,
) -> Vec<Counts> {
    let services = Service::of_core(set, admission, executor, 0);
    let mut machine = Machine::new(executor.scheduling, services);
    // By time and a number that keeps equal times apart.
    let mut events: BTreeMap<(u64, u64), Event> = BTreeMap::new();
    let mut number = 0;
    for (stream, of) in set.iter().enumerate() {
        let (period, jitter) = (nanos::of(of.period), nanos::of(of.jitter));
        let mut arrival = rng.random_range(0..2 * period);
        let mut ready = 0;
        while arrival < END {
            ready = ready.max(arrival + rng.random_range(0..=jitter));
            events.insert((ready, number), Event::Input { stream, arrival });
            arrival += (world.gap)(stream, period, rng);
            number += 1;
        }
    }

    let mut now = 0;
    let mut running: Option<(JobId, u64, u64, bool)> = None;
    loop {
        let next_event = events.first_key_value().map(|(&(at, _), _)| at);
        let over = running.map(|(_, _, over, _)| over);
        // What the network does at the end of a segment is seen before the end.
        match (next_event, over) {
            (Some(at), over) if over.is_none_or(|over| at <= over) && at <= now => {
                let (_, event) = events.pop_first().unwrap();
                happen(event, now, &mut machine, world, rng, &mut events, &mut number);
            }
            (_, Some(over)) if next_event.is_none_or(|at| at > over) => {
                now = over;
                let (job, start, over, stopped) = running.take().unwrap();
                match stopped {
                    true => drop(machine.failed(job, true)),
                    false => {
                        let elapsed = ns(over - start) - executor.dispatch;
                        machine.ran(ns(now), job, elapsed);
                    }
                }
            }
            (Some(at), Some(_)) => now = at,
            (next_event, _) => match machine.next(ns(now)) {
                Next::Run { job, budget, limit, .. } => {
                    let stream = machine.jobs[&job].stream;
                    let time = (world.run)(stream, nanos::of(budget), rng);
                    let over = now + time.min(nanos::of(limit)) + nanos::of(executor.dispatch);
                    running = Some((job, now, over, time > nanos::of(limit)));
                }
                Next::Wait(until) => {
                    match [until.map(nanos::of), next_event].into_iter().flatten().min() {
                        Some(until) => now = now.max(until),
                        None => break,
                    }
                }
            },
        }
    }
    assert!(machine.is_idle());
    (0..set.len()).map(|stream| machine.counts(stream)).collect()
}

fn happen(
    event: Event,
    now: u64,
    machine: &mut Machine,
    world: &World,
    rng: &mut ChaCha8Rng,
    events: &mut BTreeMap<(u64, u64), Event>,
    number: &mut u64,
) {
    match event {
        Event::Input { stream, arrival } => {
            let Ok(taken) = machine.arrive(ns(now), stream, ns(arrival)) else { return };
            if machine.services[stream].arm_after.is_zero() || rng.random_bool(0.2) {
                return;
            }
            let job = taken.job;
            machine.offload(job);
            let (at, event) = match (world.fog)(now, rng) {
                Fate::Answer(after) => (now + after, Event::Answer { stream, job }),
                Fate::Failure(after) => (now + after, Event::Failure { stream, job }),
                Fate::Silence => return,
            };
            *number += 1;
            events.insert((at, *number), event);
        }
        Event::Answer { stream, job } => drop(machine.fog_answered(ns(now), stream, job)),
        Event::Failure { stream, job } => drop(machine.fog_failed(ns(now), stream, job)),
    }
}

fn ns(time: u64) -> Duration {
    Duration::from_nanos(time)
}

fn random_set(rng: &mut ChaCha8Rng) -> Vec<Stream> {
    (0..rng.random_range(2..=4))
        .map(|index| {
            let stages: Vec<Duration> =
                (0..rng.random_range(1..=4)).map(|_| ns(rng.random_range(3..=20))).collect();
            let cost: u64 = stages.iter().map(|&stage| nanos::of(stage)).sum();
            let period = rng.random_range(2 * cost..=cost * 8);
            let jitter = if rng.random_bool(0.3) { rng.random_range(0..=period / 4) } else { 0 };
            let deadline = rng.random_range(cost + jitter + 5..=period + jitter + 5);
            // Degrading is the dispatcher's.
            let overload = [Overload::DropNewest, Overload::DropOldest][rng.random_range(0..2)];
            Stream {
                name: format!("stream {index}"),
                period: ns(period),
                deadline: ns(deadline),
                jitter: ns(jitter),
                priority: None,
                stages,
                core: None,
                overload,
                degrade_to: None,
                offload: rng.random_bool(0.8).then_some(Offloading { setup: Duration::ZERO }),
            }
        })
        .collect()
}

/// Random admitted sets in this world; `check` sees the counts.
fn run_admitted(world: &World, tolerance: u64, check: impl Fn(u64, &[Counts])) {
    let mut admitted = 0;
    for seed in 0..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let set = random_set(&mut rng);
        let scheduling = match seed % 2 {
            0 => Scheduling::EarliestDeadlineFirst,
            _ => Scheduling::FixedPriority,
        };
        let executor = Executor { cores: 1, scheduling, dispatch: ns(1), tolerance: ns(tolerance) };
        let Ok(admission) = admit(&set, &executor) else { continue };
        admitted += 1;
        let counts = simulate(&set, &admission, &executor, world, &mut rng);
        for (stream, counts) in counts.iter().enumerate() {
            let ended = counts.shed + counts.by_device + counts.by_fog + counts.failed;
            assert_eq!(ended, counts.arrived, "seed {seed}, stream {stream}: {counts:?}");
        }
        check(seed, &counts);
    }
    assert!(admitted > 50, "{admitted} sets admitted");
}

/// Segments that take any time up to their worst case, half of them all of it.
fn any_time(_: usize, budget: u64, rng: &mut ChaCha8Rng) -> u64 {
    if rng.random() { budget } else { rng.random_range(1..=budget) }
}

/// Inputs that come as often as they may, half of them later.
fn on_time(_: usize, period: u64, rng: &mut ChaCha8Rng) -> u64 {
    if rng.random() { period } else { rng.random_range(period..=2 * period) }
}

/// No deadline is missed and no input lost; returns what the fog host did in all.
fn nothing_is_missed(fog: impl Fn(u64, &mut ChaCha8Rng) -> Fate) -> (u64, u64, u64) {
    let seen = std::cell::Cell::new((0, 0, 0));
    let world = World { fog: &fog, run: &any_time, gap: &on_time };
    run_admitted(&world, 0, |seed, counts| {
        for (stream, counts) in counts.iter().enumerate() {
            let lost = (counts.missed, counts.failed, counts.shed);
            assert_eq!(lost, (0, 0, 0), "seed {seed}, stream {stream}: {counts:?}");
            let (answers, late, failures) = seen.get();
            seen.set((
                answers + counts.by_fog,
                late + counts.fog_too_late,
                failures + counts.fog_failed,
            ));
        }
    });
    seen.get()
}

#[test]
fn a_good_fog_host_answers() {
    let (answers, late, failures) =
        nothing_is_missed(|_, rng| Fate::Answer(rng.random_range(1..=3)));
    assert!(answers > 1_000 && failures == 0, "{answers} answers, {late} late");
}

#[test]
fn a_slow_fog_host_misses_nothing() {
    let (answers, late, _) = nothing_is_missed(|_, rng| Fate::Answer(rng.random_range(1..=400)));
    assert!(answers > 1_000 && late > 1_000, "{answers} answers, {late} late");
}

#[test]
fn a_dead_fog_host_misses_nothing() {
    assert_eq!(nothing_is_missed(|_, _| Fate::Silence), (0, 0, 0));
}

#[test]
fn a_fog_host_that_refuses_misses_nothing() {
    let (answers, _, failures) = nothing_is_missed(|_, rng| Fate::Failure(rng.random_range(1..=9)));
    assert!(answers == 0 && failures > 1_000);
}

#[test]
fn a_flapping_fog_host_misses_nothing() {
    let (answers, _, failures) = nothing_is_missed(|now, rng| match now / 50 % 2 {
        0 => Fate::Answer(rng.random_range(1..=40)),
        _ => Fate::Failure(rng.random_range(1..=40)),
    });
    assert!(answers > 300 && failures > 500, "{answers} answers, {failures} failures");
}

#[test]
fn a_partition_misses_nothing() {
    // For half of the time nothing comes through; what was sent before comes after.
    let (answers, late, _) = nothing_is_missed(|now, rng| match now % 4_000 {
        at @ 2_000.. => Fate::Answer(4_000 - at + rng.random_range(1..=5)),
        _ => Fate::Answer(rng.random_range(1..=5)),
    });
    assert!(answers > 300 && late > 300, "{answers} answers, {late} late");
}

#[test]
fn garbage_and_answers_to_other_inputs_miss_nothing() {
    // The client discards them: to the machine they are failures, at any time.
    let (answers, _, failures) = nothing_is_missed(|_, rng| match rng.random_range(0..3) {
        0 => Fate::Answer(rng.random_range(1..=60)),
        _ => Fate::Failure(rng.random_range(1..=300)),
    });
    assert!(answers > 300 && failures > 500, "{answers} answers, {failures} failures");
}

#[test]
fn a_link_of_zero_bandwidth_misses_nothing() {
    let (answers, late, _) = nothing_is_missed(|_, _| Fate::Answer(END));
    assert!(answers == 0 && late > 1_000, "{answers} answers, {late} late");
}

#[test]
fn an_overload_is_shed_from_its_own_stream() {
    let fog = |_: u64, rng: &mut ChaCha8Rng| match rng.random_range(0..3) {
        0 => Fate::Silence,
        1 => Fate::Failure(rng.random_range(1..=99)),
        _ => Fate::Answer(rng.random_range(1..=99)),
    };
    let gap = |stream: usize, period: u64, rng: &mut ChaCha8Rng| match stream {
        0 => rng.random_range(0..=period / 2),
        _ => on_time(stream, period, rng),
    };
    let world = World { fog: &fog, run: &any_time, gap: &gap };
    run_admitted(&world, 0, |seed, counts| {
        let shed: Vec<u64> = counts.iter().map(|counts| counts.shed).collect();
        let what = format!("seed {seed}: {counts:?}");
        assert!(shed[0] > 0 && shed[1..].iter().all(|&shed| shed == 0), "{what}");
        // What it was admitted for is run, and in time as well.
        assert!(counts.iter().all(|counts| counts.missed == 0), "{what}");
        assert!(counts[0].by_device + counts[0].by_fog > 0, "{what}");
    });
}

#[test]
fn a_model_that_takes_too_long_is_stopped_before_another_misses() {
    let run = |stream: usize, budget: u64, rng: &mut ChaCha8Rng| match stream {
        0 => budget + rng.random_range(0..=10),
        _ => any_time(stream, budget, rng),
    };
    let fog = |_: u64, _: &mut ChaCha8Rng| Fate::Failure(END);
    let world = World { fog: &fog, run: &run, gap: &on_time };
    run_admitted(&world, 3, |seed, counts| {
        let what = format!("seed {seed}: {counts:?}");
        assert!(counts[0].overruns > 0 && counts[0].failed > 0, "{what}");
        assert!(counts.iter().all(|counts| counts.missed == 0), "{what}");
        assert!(counts[1..].iter().all(|c| c.failed == 0 && c.overruns == 0), "{what}");
    });
}

/// Two segments of 1 ms, within 80 of 100.
fn two_segments() -> Service {
    let ms = Duration::from_millis(1);
    Service {
        period: 100 * ms,
        deadline: 80 * ms,
        jitter: Duration::ZERO,
        segments: vec![0..=0, 1..=1],
        budgets: vec![ms, ms],
        tolerance: Duration::ZERO,
        rank: None,
        arm_after: 70 * ms,
        overload: Overload::DropNewest,
    }
}

#[test]
fn a_new_promise_holds_for_jobs_that_have_come_unless_they_have_begun_otherwise() {
    let (ms, service) = (Duration::from_millis(1), two_segments());
    let mut machine = Machine::new(Scheduling::EarliestDeadlineFirst, vec![service.clone()]);
    let taken = machine.arrive(Duration::ZERO, 0, Duration::ZERO).unwrap();
    machine.offload(taken.job);
    let slower = Service { budgets: vec![3 * ms, 3 * ms], arm_after: 60 * ms, ..service.clone() };
    machine.serve(0, slower);
    assert_eq!(machine.next(10 * ms), Next::Wait(Some(70 * ms)));
    assert!(machine.is_idle_at(10 * ms));
    // It is not waited for any longer.
    machine.arm_all(20 * ms);
    assert!(!machine.is_idle_at(20 * ms));
    let run = machine.next(20 * ms);
    assert!(matches!(run, Next::Run { budget, .. } if budget == 3 * ms), "{run:?}");
    // It has begun: where the segments are others it keeps its own.
    let whole = Service { segments: vec![0..=1], budgets: vec![2 * ms], ..service };
    machine.serve(0, whole);
    assert_eq!(machine.ran(23 * ms, taken.job, 3 * ms), Progress::More);
    let rest = machine.next(23 * ms);
    assert!(matches!(&rest, Next::Run { stages, .. } if *stages == (1..=1)), "{rest:?}");
    assert_eq!(machine.ran(26 * ms, taken.job, 3 * ms), Progress::Answered);
    let next = machine.arrive(100 * ms, 0, 100 * ms).unwrap();
    let run = machine.next(100 * ms);
    let wanted =
        matches!(&run, Next::Run { job, stages, .. } if *job == next.job && *stages == (0..=1));
    assert!(wanted, "{run:?}");
}

#[test]
fn an_input_that_came_too_early_waits_for_its_time_or_is_given_back() {
    let (ms, service) = (Duration::from_millis(1), two_segments());
    let edf = Scheduling::EarliestDeadlineFirst;
    let mut machine = Machine::new(edf, vec![service.clone()]);
    let first = machine.arrive(Duration::ZERO, 0, Duration::ZERO).unwrap();
    machine.next(Duration::ZERO);
    machine.ran(ms, first.job, ms);
    machine.next(ms);
    assert_eq!(machine.ran(2 * ms, first.job, ms), Progress::Answered);
    assert!(machine.is_early(99 * ms, 0) && !machine.is_early(100 * ms, 0));
    let early = machine.arrive(50 * ms, 0, 50 * ms).unwrap();
    assert_eq!((early.arrival, machine.is_idle_at(99 * ms)), (100 * ms, true));
    assert_eq!(machine.give_back(60 * ms, 0), Some(early.job));
    // It is as if it had not come.
    assert_eq!((machine.counts(0).arrived, machine.last_arrival(0)), (1, Some(Duration::ZERO)));
    assert_eq!(machine.give_back(60 * ms, 0), None);
    let again = machine.arrive(70 * ms, 0, 70 * ms).unwrap();
    assert_eq!(again.arrival, 100 * ms);
    // One whose time has come is not.
    assert_eq!(machine.give_back(100 * ms, 0), None);
    // The next one is a period later, also where the stream has moved to another core.
    let mut other = Machine::new(edf, Vec::new());
    let place = other.add(service, machine.last_arrival(0));
    assert_eq!(other.arrive(120 * ms, place, 120 * ms).unwrap().arrival, 200 * ms);
}

#[test]
fn a_model_that_ends_earlier_than_the_promise_runs_as_far_as_it_goes() {
    let (ms, service) = (Duration::from_millis(1), two_segments());
    let segments = Service { segments: vec![0..=0, 1..=2], ..service };
    let mut machine = Machine::new(Scheduling::EarliestDeadlineFirst, vec![segments]);
    // Of three stages it has two.
    let job = machine.arrive_for(Duration::ZERO, 0, Duration::ZERO, 1).unwrap().job;
    machine.next(Duration::ZERO);
    assert_eq!(machine.ran(ms, job, ms), Progress::More);
    let rest = machine.next(ms);
    assert!(matches!(&rest, Next::Run { stages, .. } if *stages == (1..=1)), "{rest:?}");
    assert_eq!(machine.ran(2 * ms, job, ms), Progress::Answered);
    let short = machine.arrive_for(100 * ms, 0, 100 * ms, 0).unwrap();
    machine.next(100 * ms);
    assert_eq!(machine.ran(101 * ms, short.job, ms), Progress::Answered);
}
