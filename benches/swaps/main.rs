//! 10,000 swaps between two versions of a model under continuous load: failed and lost
//! inferences, answers' times while swapping and while not, memory over time.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench swaps [-- SWAPS]`

use leeway_tests::swaps::{Phase, Report, Soak};

const SWAPS: u64 = 10_000;
const BLOCKS: u64 = 50;
/// What the p99 while swapping may be of that without.
const MOST: f64 = 1.2;

fn main() -> anyhow::Result<()> {
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let swaps: u64 = given.unwrap_or(SWAPS);
    let soak = Soak::new()?;
    let report = soak.run(BLOCKS, swaps.div_ceil(BLOCKS), |done, report| {
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
