//! Random sets against a simulation of the executor: what is admitted misses
//! nothing and stays within its response time, and the bounds are not idle.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::admission::{Admission, Executor, Offloading, Overload, Scheduling, Stream, admit};
use crate::nanos;

/// A job of the simulation: segments that are left, in order.
struct Job {
    stream: usize,
    arrival: u64,
    ready: u64,
    deadline: u64,
    left: Vec<u64>,
    /// Whether it is the inference, and not the sending of an input.
    answers: bool,
}

/// How jobs arrive.
#[derive(Clone, Copy, PartialEq)]
enum Arrivals {
    /// At random, never too early.
    Random,
    /// As often as allowed, one stream's first job just before the others'.
    Dense { first: usize },
}

/// The longest response of each stream over one run of the executor.
fn simulate(
    streams: &[Stream],
    admission: &Admission,
    executor: &Executor,
    arrivals: Arrivals,
    rng: &mut ChaCha8Rng,
) -> Vec<u64> {
    const END: u64 = 3_000;
    let mut jobs = Vec::new();
    for (index, (stream, admitted)) in streams.iter().zip(&admission.streams).enumerate() {
        let [period, deadline, jitter] =
            [stream.period, stream.deadline, stream.jitter].map(nanos::of);
        let dispatch = nanos::of(executor.dispatch);
        let mut at = match arrivals {
            Arrivals::Random => rng.random_range(0..2 * period),
            Arrivals::Dense { first } => u64::from(index != first) + 50,
        };
        let mut first = true;
        while at < END {
            // Under dense arrivals the first job is as late as it may be, and all
            // later ones are at once.
            let late = match arrivals {
                Arrivals::Random => rng.random_range(0..=jitter),
                Arrivals::Dense { .. } if first => jitter,
                Arrivals::Dense { .. } => 0,
            };
            let arrival = if first { at.saturating_sub(late) } else { at };
            let full = arrivals != Arrivals::Random || rng.random_bool(0.5);
            let segments = admitted.segments.iter().map(|range| {
                let stages = *range.start() as usize..=*range.end() as usize;
                let time: u64 = stream.stages[stages].iter().map(|&s| nanos::of(s)).sum();
                let time = time + dispatch;
                if full { time } else { rng.random_range(1..=time) }
            });
            let left = segments.collect();
            let mut ready = arrival + late;
            if let (Some(arm), Some(offload)) = (admitted.arm_after, stream.offload) {
                let sends = match arrivals {
                    Arrivals::Random => rng.random_bool(0.7),
                    Arrivals::Dense { .. } => first,
                };
                if sends {
                    let setup = nanos::of(offload.setup) + dispatch;
                    jobs.push(Job {
                        stream: index,
                        arrival,
                        ready,
                        deadline: arrival + deadline,
                        left: vec![setup],
                        answers: false,
                    });
                    ready = ready.max(arrival + nanos::of(arm));
                }
            }
            jobs.push(Job {
                stream: index,
                arrival,
                ready,
                deadline: arrival + deadline,
                left,
                answers: true,
            });
            first = false;
            at = arrival
                + match arrivals {
                    Arrivals::Random => period + rng.random_range(0..=period),
                    Arrivals::Dense { .. } => period,
                };
        }
    }
    let rank = |job: &Job| match executor.scheduling {
        Scheduling::EarliestDeadlineFirst => job.deadline,
        Scheduling::FixedPriority => admission.streams[job.stream].rank.unwrap() as u64,
    };
    let mut worst = vec![0; streams.len()];
    let mut now = 0;
    while !jobs.is_empty() {
        let ready = (0..jobs.len()).filter(|&job| jobs[job].ready <= now);
        // Inputs of a stream stay in order; other ties are broken at random, as no
        // bound may rest on them.
        let key = |job: &Job, tie: u32| (rank(job), job.arrival, tie);
        let Some(next) = ready.min_by_key(|&job| key(&jobs[job], rng.random())) else {
            now = jobs.iter().map(|job| job.ready).min().unwrap();
            continue;
        };
        now += jobs[next].left.remove(0);
        if jobs[next].left.is_empty() {
            let job = jobs.swap_remove(next);
            if job.answers {
                worst[job.stream] = worst[job.stream].max(now - job.arrival);
            }
        }
    }
    worst
}

fn random_set(rng: &mut ChaCha8Rng) -> Vec<Stream> {
    let count = rng.random_range(1..=4);
    (0..count)
        .map(|index| {
            let stages: Vec<Duration> = (0..rng.random_range(1..=4))
                .map(|_| Duration::from_nanos(rng.random_range(1..=9)))
                .collect();
            let cost: u64 = stages.iter().map(|&stage| nanos::of(stage)).sum();
            let period = rng.random_range(cost..=cost * 8);
            let jitter = if rng.random_bool(0.3) { rng.random_range(0..=period / 4) } else { 0 };
            let deadline = rng.random_range(cost + jitter..=period * 3 / 2 + jitter + 8);
            let setup = Duration::from_nanos(rng.random_range(0..=2));
            Stream {
                name: format!("stream {index}"),
                period: Duration::from_nanos(period),
                deadline: Duration::from_nanos(deadline),
                jitter: Duration::from_nanos(jitter),
                priority: None,
                stages,
                core: None,
                overload: Overload::DropNewest,
                degrade_to: None,
                offload: rng.random_bool(0.3).then_some(Offloading { setup }),
            }
        })
        .collect()
}

#[test]
fn what_is_admitted_keeps_its_deadlines_and_response_times() {
    for scheduling in [Scheduling::EarliestDeadlineFirst, Scheduling::FixedPriority] {
        let (mut admitted, mut refused, mut attained, mut streams) = (0, 0, 0, 0);
        for seed in 0..800 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let dispatch = Duration::from_nanos(rng.random_range(0..=1));
            let executor = Executor { cores: 1, scheduling, dispatch, tolerance: Duration::ZERO };
            let set = random_set(&mut rng);
            let Ok(admission) = admit(&set, &executor) else {
                refused += 1;
                continue;
            };
            admitted += 1;
            let mut worst = vec![0; set.len()];
            let dense = (0..set.len()).map(|first| Arrivals::Dense { first });
            for arrivals in dense.chain([Arrivals::Random; 3]) {
                let seen = simulate(&set, &admission, &executor, arrivals, &mut rng);
                for (worst, seen) in worst.iter_mut().zip(seen) {
                    *worst = seen.max(*worst);
                }
            }
            for ((stream, promised), &seen) in set.iter().zip(&admission.streams).zip(&worst) {
                let bound = nanos::of(promised.response);
                assert!(
                    seen <= bound,
                    "seed {seed}, {scheduling:?}: {:?} took {seen}, bound {bound}: {set:?} \
                     {admission:?}",
                    stream.name
                );
                assert!(bound <= nanos::of(stream.deadline));
                streams += 1;
                attained += u32::from(seen == bound);
            }
        }
        // Neither test is empty, and most bounds are met to the nanosecond.
        assert!(admitted > 150 && refused > 150, "{admitted} admitted, {refused} refused");
        assert!(attained * 2 > streams, "{attained} of {streams} bounds attained");
    }
}
