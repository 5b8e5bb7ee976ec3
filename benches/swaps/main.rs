//! 10,000 swaps between two versions of a model under continuous load: failed and lost
//! inferences, answers' times while swapping and while not, memory over time.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench swaps [-- SWAPS [--every MS]]`
//!
//! A version's first answers find its weights and code in no cache of their processor. How
//! many of all answers these are, and so what they make of the p99, is a matter of how often
//! versions are swapped: `--every 0` swaps without a pause.

use std::time::Duration;

use clap::Parser;
use leeway_tests::swaps::{Phase, Report, Soak};

const BLOCKS: u64 = 50;
/// What the p99 while swapping may be of that without.
const MOST: f64 = 1.2;

#[derive(Parser)]
struct Arguments {
    /// How many swaps.
    #[arg(default_value_t = 10_000)]
    swaps: u64,
    /// The time from the beginning of one to that of the next, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    every: u64,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let Arguments { swaps, every, .. } = Arguments::parse();
    let (soak, every) = (Soak::new()?, Duration::from_millis(every));
    let report = soak.run(BLOCKS, swaps.div_ceil(BLOCKS), every, |done, report| {
        if done % (BLOCKS / 10) == 0 {
            let resident = report.resident.last().copied().unwrap_or_default();
            println!("{:6} swaps, {} kB resident", report.swaps, resident / 1024);
        }
    })?;
    print(&report);
    Ok(())
}

fn print(report: &Report) {
    let lost = report.begun - report.answered() - report.wrong;
    println!(
        "{} swaps of {:.1?} each, {} inferences: {} failed or wrong, {lost} lost",
        report.swaps,
        report.swap_time / u32::try_from(report.swaps).unwrap_or(u32::MAX).max(1),
        report.begun,
        report.wrong,
    );
    if let Some(wrong) = &report.first_wrong {
        println!("the first that was wrong: {wrong}");
    }
    for (name, phase) in [("swapping", &report.swapping), ("without", &report.still)] {
        let (wall, cpu) = (&phase.wall, &phase.cpu);
        println!(
            "{name:9} {:9} answers; p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}; CPU p50 {:.1?}, p99 {:.1?}",
            wall.count(),
            wall.quantile(0.5),
            wall.quantile(0.99),
            wall.quantile(0.999),
            cpu.quantile(0.5),
            cpu.quantile(0.99),
        );
    }
    let first: Vec<String> =
        report.first.iter().map(|first| format!("{:.1?}", first.quantile(0.5))).collect();
    println!("a version's first answers, p50 each: {}", first.join(", "));
    let ratio = |of: fn(&Phase) -> f64| of(&report.swapping) / of(&report.still);
    let wall = ratio(|phase| phase.wall.quantile(0.99).as_secs_f64());
    let cpu = ratio(|phase| phase.cpu.quantile(0.99).as_secs_f64());
    let verdict = if wall <= MOST { "within" } else { "OVER" };
    println!("p99 while swapping over p99 without: {wall:.2} ({verdict} {MOST}), CPU {cpu:.2}");
    let tenth = report.resident.len().div_ceil(10).max(1);
    let (early, late) = (report.resident.get(tenth - 1), report.resident.last());
    if let (Some(early), Some(late)) = (early, late) {
        println!("resident memory: {} kB early, {} kB at the end", early / 1024, late / 1024);
    }
}
