//! What some runs of one piece of code, a model or a stage, say of its time.

use std::collections::BTreeMap;
use std::time::Duration;

use leeway_contract::Fuel;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::bound::{Basis, Bound, BoundRule};
use super::evt::{Pwcet, Span, TailAnalysis, TailOptions, analyse};
use super::quantile::{Quantile, quantiles};
use super::run::{Cause, RunSample};
use crate::nanos;

/// How many runs were disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disturbed {
    /// By anything.
    pub runs: usize,
    /// By losing the CPU to another thread.
    pub preempted: usize,
    /// By waiting.
    pub waited: usize,
    /// By moving to another CPU.
    pub migrated: usize,
    /// By a page from a disk.
    pub major_fault: usize,
    /// By being off the CPU for a noticeable time.
    pub off_cpu: usize,
}

impl Disturbed {
    fn of(samples: &[RunSample]) -> Self {
        let by = |cause| samples.iter().filter(|s| s.causes.contains(&cause)).count();
        Self {
            runs: samples.iter().filter(|s| s.disturbed()).count(),
            preempted: by(Cause::Preempted),
            waited: by(Cause::Waited),
            migrated: by(Cause::Migrated),
            major_fault: by(Cause::MajorFault),
            off_cpu: by(Cause::OffCpu),
        }
    }

    /// How many by this cause.
    pub fn by(&self, cause: Cause) -> usize {
        match cause {
            Cause::Preempted => self.preempted,
            Cause::Waited => self.waited,
            Cause::Migrated => self.migrated,
            Cause::MajorFault => self.major_fault,
            Cause::OffCpu => self.off_cpu,
        }
    }
}

/// How long one piece of code takes, under one condition of the caches.
///
/// Only [`Timing::highest_observed`] is over all runs; everything else is over
/// the undisturbed ones, or over all where all were disturbed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Runs that were measured.
    pub runs: usize,
    /// Of them, those that were disturbed.
    pub disturbed: Disturbed,
    /// The longest run of all, the machine's noise included.
    #[serde(rename = "highest_observed_ns", with = "crate::nanos")]
    pub highest_observed: Duration,
    /// The longest undisturbed run. A hypervisor that takes the CPU away without
    /// telling is still in it.
    #[serde(rename = "highest_undisturbed_ns", with = "crate::nanos")]
    pub highest_undisturbed: Duration,
    /// The highest, over the inputs, of an input's median: the execution time of
    /// the worst input, which a hiccup that hits less than half of its runs cannot
    /// raise.
    #[serde(rename = "worst_input_ns", with = "crate::nanos")]
    pub worst_input: Duration,
    /// Quantiles.
    pub quantiles: Vec<Quantile>,
    /// The fuel of one run.
    pub fuel: Fuel,
    /// Median nanoseconds per unit of fuel, with its 95 % interval by bootstrap;
    /// `None` where no fuel is counted.
    pub ns_per_fuel: Option<Span>,
    /// The probabilistic worst case, or why there is none.
    pub tail: TailAnalysis,
}

impl Timing {
    /// Summarises runs in the order in which they were made; `None` of no runs.
    pub fn of(samples: &[RunSample], fuel: Fuel, options: &TailOptions) -> Option<Self> {
        let highest = samples.iter().map(|s| s.ns).max()?;
        let disturbed = Disturbed::of(samples);
        // Where all runs were disturbed there is nothing better to go by.
        let all = disturbed.runs == samples.len();
        let counted: Vec<&RunSample> = samples.iter().filter(|s| all || !s.disturbed()).collect();
        let times: Vec<u64> = counted.iter().map(|s| s.ns).collect();
        let mut sorted = times.clone();
        sorted.sort_unstable();
        Some(Self {
            runs: samples.len(),
            disturbed,
            highest_observed: Duration::from_nanos(highest),
            highest_undisturbed: Duration::from_nanos(*sorted.last()?),
            worst_input: worst_input(&counted),
            quantiles: quantiles(&sorted),
            fuel,
            ns_per_fuel: (fuel.0 > 0).then(|| per_fuel(&sorted, fuel, options)),
            tail: analyse(&times, options),
        })
    }

    /// Checks what a file may have lost.
    pub(super) fn check(&self) -> Result<(), String> {
        let (highest, undisturbed) = (self.highest_observed, self.highest_undisturbed);
        if self.runs == 0 || highest < undisturbed || undisturbed < self.worst_input {
            let worst = self.worst_input;
            return Err(format!(
                "of {} runs the highest is {highest:?}, undisturbed {undisturbed:?}, and the \
                 worst input takes {worst:?}",
                self.runs
            ));
        }
        let ordered = |p: &Pwcet| p.lower <= p.estimate && p.estimate <= p.upper;
        match self.tail.pwcet.iter().find(|pwcet| !ordered(pwcet)) {
            Some(pwcet) => Err(format!("a bound lies outside of its interval: {pwcet:?}")),
            None => Ok(()),
        }
    }

    /// The median.
    pub fn median(&self) -> Duration {
        self.quantiles.first().map_or(Duration::ZERO, |median| median.time)
    }

    /// What is promised by this rule: never less than the longest run of all.
    pub fn bound(&self, rule: &BoundRule) -> Bound {
        // The bound of the next smaller probability where there is not this one.
        let wanted = rule.exceedance * (1.0 + 1e-9);
        let pwcet = self.tail.pwcet.iter().find(|pwcet| pwcet.exceedance <= wanted);
        match pwcet {
            Some(pwcet) => Bound {
                time: pwcet.upper.max(self.highest_observed),
                basis: Basis::Probabilistic { exceedance: pwcet.exceedance },
            },
            None => Bound {
                time: rule.with_margin(self.highest_observed),
                basis: Basis::Observed { margin: rule.margin },
            },
        }
    }
}

fn worst_input(samples: &[&RunSample]) -> Duration {
    let mut of_input: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    samples.iter().for_each(|s| of_input.entry(s.input).or_default().push(s.ns));
    let median = |times: &mut Vec<u64>| {
        times.sort_unstable();
        times[(times.len() - 1) / 2]
    };
    Duration::from_nanos(of_input.values_mut().map(median).max().unwrap_or_default())
}

/// The median of sorted times, per unit of fuel; percentile bootstrap (B. Efron,
/// R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
fn per_fuel(sorted: &[u64], fuel: Fuel, options: &TailOptions) -> Span {
    let middle = (sorted.len() - 1) / 2;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut replica = vec![0; sorted.len()];
    let mut medians: Vec<u64> = (0..options.replicas.max(1))
        .map(|_| {
            replica.iter_mut().for_each(|x| *x = sorted[rng.random_range(0..sorted.len())]);
            *replica.select_nth_unstable(middle).1
        })
        .collect();
    medians.sort_unstable();
    let at = |part: f64| medians[(part * (medians.len() - 1) as f64).round() as usize];
    let [estimate, lower, upper] =
        [sorted[middle], at(0.025), at(0.975)].map(|ns| ns as f64 / fuel.0 as f64);
    Span { estimate, lower: lower.min(estimate), upper: upper.max(estimate) }
}

/// The time of a run, for tests: nanoseconds by input, undisturbed.
#[cfg(test)]
pub(crate) fn sample(input: usize, ns: u64) -> RunSample {
    RunSample { input, ns, causes: Vec::new() }
}

/// Whole nanoseconds of a time, times a factor, rounded up.
pub(crate) fn times(time: Duration, factor: f64) -> Duration {
    // A cast saturates.
    Duration::from_nanos((nanos::of(time) as f64 * factor).ceil() as u64)
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
