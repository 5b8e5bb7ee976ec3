//! How long a decision takes: what is known of an input, and what each policy makes of
//! it. The least CPU time over many rounds.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench decision`

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use leeway_tests::decision::{Subjects, policies};

const DECISIONS: u32 = 2_000;
const ROUNDS: usize = 100;
/// What a decision may take.
const WANTED: Duration = Duration::from_micros(5);

fn main() {
    let subjects = Subjects::new();
    let mut least: Vec<(&str, Duration)> = Vec::new();
    let mut policies = policies();
    for round in 0..ROUNDS {
        for (which, policy) in policies.iter_mut().enumerate() {
            let start = ThreadTime::now();
            for number in 0..DECISIONS as usize {
                black_box(subjects.decide(&mut **policy, black_box(number)));
            }
            let time = start.elapsed() / DECISIONS;
            match round {
                0 => least.push((policy.name(), time)),
                _ => least[which].1 = least[which].1.min(time),
            }
        }
    }
    for (policy, time) in least {
        let verdict = if time < WANTED { "under" } else { "OVER" };
        println!("{policy:15} {:6} ns, {verdict} {WANTED:?}", time.as_nanos());
    }
}
