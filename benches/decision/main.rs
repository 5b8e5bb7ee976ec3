//! How long a decision takes: what is known of an input, and what each policy makes of
//! it; and an input's arrival at the dispatcher, which also takes it into the books of
//! the executor. The least CPU time over many rounds.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench decision`

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use leeway_tests::decision::{Streams, Subjects, policies};

const DECISIONS: u32 = 2_000;
const ROUNDS: usize = 100;
/// Arrivals between two looks at the clock are few, as each stream has one input at a
/// time.
const ARRIVALS: usize = 20_000;
/// What a decision may take.
const WANTED: Duration = Duration::from_micros(5);

fn main() {
    println!("{:15} {:>12} {:>12}", "policy", "a decision", "an arrival");
    for ((policy, decision), arrival) in decisions().into_iter().zip(arrivals()) {
        let verdict = if decision.max(arrival) < WANTED { "under" } else { "OVER" };
        let [decision, arrival] = [decision, arrival].map(|time| time.as_nanos());
        println!("{policy:15} {decision:9} ns {arrival:9} ns, {verdict} {WANTED:?}");
    }
}

/// Of each policy, its name and the least time of a decision.
fn decisions() -> Vec<(&'static str, Duration)> {
    let subjects = Subjects::new();
    let mut policies = policies();
    let mut least: Vec<(&str, Duration)> =
        policies.iter().map(|policy| (policy.name(), Duration::MAX)).collect();
    for _ in 0..ROUNDS {
        for (policy, (_, least)) in policies.iter_mut().zip(&mut least) {
            let start = ThreadTime::now();
            for number in 0..DECISIONS as usize {
                black_box(subjects.decide(&mut **policy, black_box(number)));
            }
            *least = (*least).min(start.elapsed() / DECISIONS);
        }
    }
    least
}

/// Under each policy, the least time of an arrival, among those of all streams at once.
fn arrivals() -> Vec<Duration> {
    let under = |policy| {
        let mut streams = Streams::new(policy);
        let count = streams.len() as u32;
        let once = |_| {
            let start = ThreadTime::now();
            let inputs = black_box(streams.arrive());
            let time = start.elapsed() / count;
            streams.answer(inputs);
            time
        };
        (0..ARRIVALS).map(once).min().unwrap_or_default()
    };
    policies().into_iter().map(under).collect()
}
